//! Nearly well-formed bytes for each target.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn image() -> impl Strategy<Value = String> {
    let account = "[0-9]{12}|[0-9]{11,13}";
    let service = "dkr[.-]ecr(-fips)?";
    let region = "[a-z]{2,4}(-(gov|iso[bef]?))?-[a-z]{3,6}-[0-9]{1,2}";
    let suffix = select(vec![
        "amazonaws.com",
        "on.aws",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "c2s.ic.gov",
        "sc2s.sgov.gov",
        "cloud.adc-e.uk",
        "csp.hci.ic.gov",
        "example",
    ]);
    let rest =
        "(:443|:[0-9]{1,5})?(/[a-z0-9._-]{1,8}){0,3}(:[a-zA-Z0-9._-]{1,8})?(@sha256:[0-9a-f]{64})?";
    (account, service, region, suffix, rest).prop_map(|(account, service, region, suffix, rest)| {
        format!("{account}.{service}.{region}.{suffix}{rest}")
    })
}

pub fn reference() -> impl Strategy<Value = Vec<u8>> {
    let any = "([a-z0-9.-]{1,12}(:[0-9]{1,5})?/)?[a-z0-9._/-]{1,20}(:[a-z0-9.]{0,5})?";
    prop_oneof![image(), any].prop_map(String::into_bytes)
}

/// Any JSON, mostly with field names that the targets read.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        image().prop_map(Value::from),
    ];
    let names = select(vec![
        "image", "name", "spec", "metadata", "labels", "auth", "auths",
    ]);
    let key = prop_oneof![names.prop_map(str::to_owned), any::<String>()];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The value in seven of eight cases, otherwise any JSON.
fn mostly(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![7 => value, 1 => anything()].boxed()
}

fn list(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    mostly(prop::collection::vec(value, 0..3).prop_map(Value::from))
}

pub fn review() -> impl Strategy<Value = Vec<u8>> {
    let secret = select(vec!["ecr-registry-credentials", "other", ""]);
    let secret = mostly(secret.prop_map(|name| json!({ "name": name })));
    let container = || mostly(image().prop_map(|image| json!({ "image": image })));
    let volume = image().prop_map(|image| json!({ "image": { "reference": image } }));
    let label = select(vec!["true", "false", "x"]);
    let metadata =
        label.prop_map(|label| json!({"labels": {"ecr-pull-secrets.dev/inject": label}}));
    let spec = (
        list(secret),
        list(container()),
        list(container()),
        list(volume),
    )
        .prop_map(|(secrets, containers, init, volumes)| {
            json!({
                "imagePullSecrets": secrets,
                "containers": containers,
                "initContainers": init,
                "volumes": volumes,
            })
        });
    let pod = (mostly(metadata), mostly(spec), anything()).prop_map(
        |(metadata, spec, more)| json!({ "metadata": metadata, "spec": spec, "x": more }),
    );
    (mostly(pod), any::<String>(), any::<bool>()).prop_map(|(pod, uid, is_running)| {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": { "kind": "Pod" },
                "namespace": "shop",
                "subResource": is_running.then_some("ephemeralcontainers"),
                "object": pod,
            },
        });
        serde_json::to_vec(&review).unwrap()
    })
}

pub fn docker_config() -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![
        image(),
        any::<String>(),
        select(vec![
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com".to_owned(),
            "https://index.docker.io/v1/".to_owned(),
        ])
    ];
    let auth = select(vec!["QVdTOng=", "bWU6cGFzcw==", "YTpiYw", "", "?"]);
    let entry = (auth, anything()).prop_map(|(auth, more)| json!({ "auth": auth, "more": more }));
    let entry = prop_oneof![
        4 => entry,
        1 => Just(json!({ "username": "AWS", "password": "x" })),
        1 => Just(Value::Null),
    ];
    let auths = prop::collection::btree_map(host, entry, 0..5);
    let ends = select(vec![
        "2026-01-01T05:00:00Z",
        "2026-01-01T11:59:00Z",
        "2036-01-01T00:00:00Z",
        "x",
    ]);
    (auths, anything(), ends, any::<bool>()).prop_map(|(auths, more, ends, is_described)| {
        let hosts = Vec::from_iter(auths.keys().cloned());
        let mut bytes = serde_json::to_vec(&json!({ "auths": auths, "more": more })).unwrap();
        if is_described {
            let lifetime = format!("2025-12-31T20:00:00Z/{ends}");
            let lifetimes = vec![lifetime; hosts.len()].join(",");
            let hosts = hosts.join(",");
            let text =
                format!("\0format=1\nregistries={hosts}\nlifetimes={lifetimes}\nidentity=ambient");
            bytes.extend(text.into_bytes());
        }
        bytes
    })
}

/// A LabelSelector in flow style, or a text of about the form that kubectl reads.
fn selector() -> impl Strategy<Value = String> {
    let word = || "[a-zA-Z0-9./_-]{0,6}";
    let labels = prop::collection::btree_map(word(), word(), 0..3);
    let operator = select(vec!["In", "NotIn", "Exists", "DoesNotExist", "in", ""]);
    let values = prop::option::of(prop::collection::vec(word(), 0..3));
    let requirement = (word(), operator, values).prop_map(|(key, operator, values)| {
        let mut requirement = json!({ "key": key, "operator": operator });
        if let Some(values) = values {
            requirement["values"] = json!(values);
        }
        requirement
    });
    let requirements = prop::collection::vec(requirement, 0..3);
    let object = (labels, requirements).prop_map(|(labels, requirements)| {
        json!({ "matchLabels": labels, "matchExpressions": requirements }).to_string()
    });
    prop_oneof![4 => object, 1 => "[a-z!=, ()]{0,12}".prop_map(|text| format!("'{text}'"))]
}

pub fn config() -> impl Strategy<Value = Vec<u8>> {
    let text = || {
        prop_oneof![
            "[a-z*?0-9.-]{1,12}",
            any::<String>(),
            select(vec![
                "",
                "~",
                "yes",
                "0x1",
                "1e3",
                "a: b",
                "- a",
                "\u{85}",
                "012345678901"
            ])
            .prop_map(str::to_owned),
        ]
    };
    let texts = move || prop::collection::vec(text(), 0..3);
    let action = select(vec![
        "ambient: {}",
        "deny: {}",
        "assumeRole: {roleArn: 'arn:aws:iam::012345678901:role/a'}",
    ]);
    let rule = (texts(), action)
        .prop_map(|(texts, action)| format!("- namespaces: {}\n  {action}\n", json!(texts)));
    let rules =
        prop::collection::vec(rule, 1..3).prop_map(|rules| format!("rules:\n{}", rules.concat()));
    let entry = (texts(), selector()).prop_map(|(texts, selector)| {
        let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        format!(
            "provision:\n- namespaces: {}\n  selector: {selector}\n  registries: [{host}]\n",
            json!(texts)
        )
    });
    let secret = ("[a-z0-9.-]{1,10}", "[0-9]{1,4}[smhdw]").prop_map(|(name, after)| {
        format!("secret: {{name: {name}, cleanupAfter: {after}}}\nrotation: {{maxAge: {after}}}\n")
    });
    let part = prop_oneof![3 => rules, 3 => entry, 3 => secret, 1 => any::<String>()];
    prop::collection::vec(part, 0..3).prop_map(|parts| {
        let head = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";
        (head.to_owned() + &parts.concat()).into_bytes()
    })
}
