//! Each fact alone: where several places hold the same fact, one that is lost goes unnoticed.

use super::*;

#[test]
fn each_fact_of_a_pod_is_kept() {
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1";
    let spec = |list: &str, element: Value| json!({ "spec": { list: [element] } });
    let status = |list: &str, element: Value| json!({ "status": { list: [element] } });
    let variable = json!({ "env": [{ "valueFrom": { "secretKeyRef": { "name": PULL } } }] });
    let source = json!({ "envFrom": [{ "secretRef": { "name": PULL } }] });
    let refused = json!({ "image": image, "state": { "waiting": { "reason": "ErrImagePull",
        "message": "no basic auth credentials" } } });
    let facts = [
        spec("containers", json!({ "image": image })),
        spec("initContainers", json!({ "image": image })),
        spec("ephemeralContainers", json!({ "image": image })),
        spec("volumes", json!({ "image": { "reference": image } })),
        spec("volumes", json!({ "secret": { "secretName": PULL } })),
        spec(
            "volumes",
            json!({ "projected": { "sources": [{ "secret": { "name": PULL } }] } }),
        ),
        spec("containers", variable.clone()),
        spec("initContainers", variable.clone()),
        spec("ephemeralContainers", variable),
        spec("containers", source.clone()),
        spec("initContainers", source.clone()),
        spec("ephemeralContainers", source),
        status("containerStatuses", refused.clone()),
        status("initContainerStatuses", refused.clone()),
        status("ephemeralContainerStatuses", refused),
        status("containerStatuses", json!({ "state": { "running": {} } })),
        status(
            "containerStatuses",
            json!({ "state": { "terminated": {} } }),
        ),
        status(
            "containerStatuses",
            json!({ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }),
        ),
        json!({ "status": { "phase": "Running" } }),
    ];
    for fact in facts {
        let whole: ObservedPod = serde_json::from_value(fact.clone()).unwrap();
        let sifted: ObservedPod = parsed(POD, "application/json", &fact);
        let without: ObservedPod =
            serde_json::from_value(json!({ "spec": {}, "status": {} })).unwrap();
        assert_ne!(
            format!("{whole:?}"),
            format!("{without:?}"),
            "no fact: {fact}"
        );
        assert_eq!(format!("{sifted:?}"), format!("{whole:?}"), "{fact}");
    }
}

#[test]
fn each_field_manager_of_a_description_is_kept() {
    let reading =
        |metadata: &ObjectMeta| format!("{:?}", SecretReading::of(&secret_metadata(metadata)));
    let described =
        |name: &str| json!({ "f:metadata": { "f:annotations": { format!("f:{name}"): {} } } });
    for name in [
        annotation::REGISTRIES,
        annotation::LIFETIMES,
        annotation::IDENTITY,
        annotation::EXCLUSIVE,
        annotation::FORMAT,
    ] {
        let owned_by = |manager: &str| {
            let mut secret = secret();
            secret["metadata"]["managedFields"] =
                json!([{ "manager": manager, "fieldsV1": described(name) }]);
            secret
        };
        let read = |secret: &Value| {
            let whole: Secret = serde_json::from_value(secret.clone()).unwrap();
            let sifted: PartialObjectMeta<Secret> = parsed(SECRET, METADATA, secret);
            assert_eq!(
                reading(&sifted.metadata),
                reading(&whole.metadata),
                "{name}"
            );
            reading(&whole.metadata)
        };
        let (ours, others) = (
            read(&owned_by("ecr-pull-secrets")),
            read(&owned_by("kubectl-edit")),
        );
        assert_ne!(ours, others, "{name}");
    }
}

#[test]
fn long_descriptions_of_a_secret_are_kept() {
    let hosts = "123456789012.dkr.ecr.us-east-1.amazonaws.com,".repeat(100);
    for name in [
        annotation::REGISTRIES,
        annotation::LIFETIMES,
        annotation::IDENTITY,
    ] {
        let mut secret = secret();
        secret["metadata"]["annotations"][name] = json!(hosts);
        let sifted: PartialObjectMeta<Secret> = parsed(SECRET, METADATA, &secret);
        assert_eq!(sifted.metadata.annotations.unwrap()[name], hosts);
    }
}

#[test]
fn immutable_secret_stays_immutable() {
    let mut secret = secret();
    secret["immutable"] = json!(true);
    let sifted: Secret = parsed(SECRET, "application/json", &secret);
    assert_eq!(sifted.immutable, Some(true));
}
