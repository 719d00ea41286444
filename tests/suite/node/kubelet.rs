//! The kubelet's own rules, and the confinement of our container.

use std::fs;
use std::sync::Arc;

use aws_stand_in::spec::{Action, Fault};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;

use super::pods::{pulled, running, waits};
use super::world::{NodeWorld, OTHER_ACCOUNT};
use crate::frame::{trial, trials};
use crate::harness::namespace::{SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, docker, eventually};

trials!(
    image_with_port_443_is_pulled,
    two_registries_in_one_secret_are_pulled_from,
    good_secret_beside_a_stale_one_suffices,
    our_container_is_as_confined_as_declared,
);

async fn image_with_port_443_is_pulled(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let image = format!("{}:443/app:v1", namespace.host());
    let mut manifest = pod("app", &image);
    manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    namespace.create::<Pod>(manifest).await?;
    pulled(&namespace, 1).await;
    let secret = namespace.secret_comes().await;
    assert_eq!(
        docker::hosts(&secret),
        [format!("{}:443", namespace.host())]
    );
    Ok(())
}

async fn two_registries_in_one_secret_are_pulled_from(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let other = world.region().host(OTHER_ACCOUNT);
    let mut manifest = pod("app", &namespace.image("app"));
    manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    manifest["spec"]["initContainers"] = json!([{
        "name": "side-car",
        "image": format!("{other}/side-car:v1"),
        "imagePullPolicy": "Always",
        "restartPolicy": "Always",
    }]);
    namespace.create::<Pod>(manifest).await?;
    pulled(&namespace, 1).await;
    assert_eq!(docker::hosts(&namespace.secret_comes().await).len(), 2);
    Ok(())
}

async fn good_secret_beside_a_stale_one_suffices(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let stale = json!({ "auths": { namespace.host(): { "auth": "QVdTOnN0YWxl" } } }).to_string();
    let stale = json!({
        "metadata": { "name": "a-stale-one" },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": stale },
    });
    namespace.create::<Secret>(stale).await?;
    let mut manifest = pod("app", &namespace.image("app"));
    manifest["spec"]["imagePullSecrets"] = json!([{ "name": "a-stale-one" }]);
    manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    namespace.create::<Pod>(manifest).await?;
    let pods = pulled(&namespace, 1).await;
    assert_eq!(references(&pods[0]), ["a-stale-one", SECRET]);
    Ok(())
}

async fn our_container_is_as_confined_as_declared(_world: Arc<NodeWorld>) -> Outcome {
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let ours: Vec<_> = processes
        .filter(|path| {
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            command.starts_with(b"/ecr-pull-secrets\0serve")
        })
        .collect();
    assert_eq!(ours.len(), 2, "two replicas run on this node");
    for process in ours {
        let status = fs::read_to_string(process.join("status"))?;
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(field("Uid"), "65532 65532 65532 65532");
        assert_eq!(field("Gid"), "65532 65532 65532 65532");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(field("NoNewPrivs"), "1");
        assert_eq!(field("Seccomp"), "2", "a filter");
        let mounts = fs::read_to_string(process.join("mountinfo"))?;
        let mut root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let root = root
            .rfind(|fields| fields.get(4) == Some(&"/"))
            .expect("a root");
        assert!(root[5].split(',').any(|option| option == "ro"), "{root:?}");
    }
    Ok(())
}

/// Stops the registry for all pods.
pub(super) fn trials_alone() -> Vec<Trial> {
    let name = "node::kubelet::a_cached_image_starts_after_rotation_with_the_registry_stopped";
    vec![trial(
        name,
        super::shared,
        a_cached_image_starts_after_rotation_with_the_registry_stopped,
    )]
}

async fn a_cached_image_starts_after_rotation_with_the_registry_stopped(
    world: Arc<NodeWorld>,
) -> Outcome {
    let namespace = world.namespace().await;
    namespace
        .create::<Pod>(pod("first", &namespace.image("model")))
        .await?;
    running(&namespace, 1).await;
    let before = namespace.secret_comes().await;
    let pods: Api<Pod> = namespace.api();
    pods.delete("first", &DeleteParams::default().grace_period(0))
        .await?;
    eventually("the first pod is gone", LIMIT, || async {
        pods.get_opt("first")
            .await
            .expect("an answer")
            .is_none()
            .then_some(())
    })
    .await;
    // Rotation in place means another token in the same Secret.
    let secrets: Api<Secret> = namespace.api();
    let rotated =
        json!({ "auths": { namespace.host(): { "auth": "QVdTOnJvdGF0ZWQ=" } } }).to_string();
    let patch = Patch::Merge(json!({ "stringData": { ".dockerconfigjson": rotated } }));
    let after = secrets
        .patch(SECRET, &PatchParams::default(), &patch)
        .await?;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let code = "ServiceUnavailable".to_owned();
    let stopped = Fault::Error {
        code,
        status: 503,
        message: "stopped".to_owned(),
    };
    world.region().fault_of(Action::Pull, stopped).await?;
    namespace
        .create::<Pod>(pod("second", &namespace.image("model")))
        .await?;
    running(&namespace, 1).await;
    // No pod has pulled with this content: the kubelet recognised the uid of the Secret.
    let now = namespace.secret_comes().await;
    assert_eq!(
        now.metadata.resource_version,
        after.metadata.resource_version
    );
    // The contrast: a Secret with another uid, and a token that the kubelet does not know.
    let out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let contrast = world.labelled_namespace(out).await;
    let stranger =
        json!({ "auths": { contrast.host(): { "auth": "QVdTOnN0cmFuZ2Vy" } } }).to_string();
    let foreign = json!({
        "metadata": { "name": SECRET },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": stranger },
    });
    contrast.create::<Secret>(foreign).await?;
    let mut manifest = pod("third", &contrast.image("model"));
    manifest["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    contrast.create::<Pod>(manifest).await?;
    waits(&contrast, "ErrImagePull").await;
    world.region().clear_faults().await?;
    Ok(())
}
