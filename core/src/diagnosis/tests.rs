use std::collections::BTreeMap;

use super::*;
use crate::identity::Identity;

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const TABLE: &str = include_str!("../../../tests/fixtures/pull-errors.tsv");

/// A line of the table.
struct Row {
    runtime: &'static str,
    source: &'static str,
    cause: &'static str,
    text: String,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [runtime, source, cause, text] = fields[..] else {
            panic!("not four fields: {line}");
        };
        let text = text
            .replace("{image}", &format!("{HOST}/team/app:v1"))
            .replace("{host}", HOST)
            .replace("{digest}", &format!("sha256:{}", "0".repeat(64)))
            .replace("\\n", "\n");
        Row {
            runtime,
            source,
            cause,
            text,
        }
    });
    rows.collect()
}

#[test]
fn every_text_of_the_table_has_its_cause() {
    for Row {
        source,
        cause,
        text,
        ..
    } in rows()
    {
        let of = |reason: &str, text: &str| of_waiting(reason, text).map(Cause::name);
        if cause == Cause::ImageNeverPull.name() {
            assert_eq!(
                of("ErrImageNeverPull", &text),
                Some(cause),
                "{source}: {text}"
            );
            continue;
        }
        assert_eq!(of("ErrImagePull", &text), Some(cause), "{source}: {text}");
        // While the kubelet backs off, it repeats the last error.
        let image = format!("{HOST}/team/app:v1");
        let again = format!("Back-off pulling image \"{image}\": ErrImagePull: {text}");
        assert_eq!(
            of("ImagePullBackOff", &again),
            Some(cause),
            "{source}: {again}"
        );
        let rpc = format!("rpc error: code = Unknown desc = {text}");
        assert_eq!(
            of("RegistryUnavailable", &rpc),
            Some(cause),
            "{source}: {rpc}"
        );
    }
}

#[test]
fn table_covers_each_runtime_and_cause() {
    let mut of_runtime: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = rows();
    for row in &rows {
        *of_runtime.entry(row.runtime).or_default() += 1;
    }
    for runtime in ["containerd 1.7", "containerd 2.4", "CRI-O"] {
        assert!(of_runtime[runtime] >= 15, "{runtime}: {of_runtime:?}");
    }
    let seen = rows.iter().filter(|row| row.source.starts_with("node "));
    assert!(rows.len() >= 60 && seen.count() >= 25);
    let pulls = Cause::ALL
        .iter()
        .skip_while(|cause| **cause != Cause::PullDenied);
    for cause in pulls {
        assert!(rows.iter().any(|row| row.cause == cause.name()), "{cause}");
    }
}

#[test]
fn stale_login_beside_a_denied_one_is_named_first() {
    let expired = "denied: Your authorization token has expired. Reauthenticate and try again.";
    let denied = "denied: User: a is not authorized to perform: ecr:BatchGetImage on resource: b";
    for both in [
        format!("[{expired}, {denied}]"),
        format!("[{denied}, {expired}]"),
    ] {
        assert_eq!(of_pull(&both), Some(Cause::TokenExpired), "{both}");
    }
}

#[test]
fn other_reasons_have_no_cause() {
    for reason in [
        "CreateContainerConfigError",
        "InvalidImageName",
        "ContainerCreating",
        "",
    ] {
        assert_eq!(
            of_waiting(reason, "denied: Not Authorized"),
            None,
            "{reason}"
        );
    }
    for text in [
        "",
        "pull QPS exceeded",
        "failed to extract layer: no space left on device",
    ] {
        assert_eq!(of_waiting("ErrImagePull", text), None, "{text}");
    }
}

#[test]
fn repository_name_selects_no_phase() {
    for (path, phase) in [
        ("v2/blobs/manifests/v1", Phase::Manifest),
        ("v2/a/manifests/manifests/v1", Phase::Manifest),
        ("v2/manifests/blobs/sha256:0", Phase::Layer),
        ("v2/a/blobs/sha256:0?ns=a.b", Phase::Layer),
        ("login", Phase::Elsewhere),
    ] {
        let message =
            format!("unexpected status from get request to https://{HOST}/{path}: 403 forbidden");
        let request = FailedRequest::find(&message).unwrap();
        assert_eq!((request.phase, request.status), (phase, 403), "{path}");
    }
}

#[test]
fn storage_of_each_partition_is_known() {
    for (host, is_storage) in [
        (
            "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com",
            true,
        ),
        (
            "prod-eu-west-1-starport-layer-bucket.s3-eu-west-1.amazonaws.com",
            true,
        ),
        (
            "prod-cn-north-1-starport-layer-bucket.s3.cn-north-1.amazonaws.com.cn",
            true,
        ),
        (
            "prod-us-east-1-starport-layer-bucket.s3.dualstack.us-east-1.amazonaws.com",
            true,
        ),
        ("s3.example.com", false),
        (HOST, false),
    ] {
        let message =
            format!("unexpected status from get request to https://{host}/a/b?c: 403 forbidden");
        let phase = FailedRequest::find(&message).unwrap().phase;
        assert_eq!(phase == Phase::Storage, is_storage, "{host}");
    }
}

#[test]
fn image_name_never_selects_a_cause() {
    for name in [
        "denied:not-found",
        "app:403-forbidden",
        "manifest-unknown:x",
    ] {
        let message = format!("Back-off pulling image \"1.example/{name}\"");
        assert_eq!(of_pull(&message), None, "{message}");
    }
    let sayings = SAYINGS.iter().map(|(pattern, _)| *pattern);
    let others = UNANSWERED
        .iter()
        .chain(UNPLACED)
        .map(|(pattern, _)| *pattern);
    for pattern in sayings.chain(others).chain([ACTION_PREFIX]) {
        assert!(pattern.contains(' '), "{pattern}");
        assert_eq!(pattern, pattern.to_ascii_lowercase());
    }
}

#[test]
fn only_key_of_refusing_registry_is_refused() {
    let access = |region: &str| Access {
        registry: Registry::of_host(&format!("123456789012.dkr.ecr.{region}.amazonaws.com"))
            .unwrap(),
        identity: Identity::Ambient,
    };
    let (refusing, other) = (access("us-east-1"), access("eu-west-1"));
    let registries = [other.clone(), refusing.clone()];
    for (cause, is_of_token) in [
        (Cause::TokenExpired, true),
        (Cause::TokenInvalid, true),
        (Cause::PullRefused, true),
        (Cause::PullDenied, false),
        (Cause::PullUnauthenticated, false),
    ] {
        let pull = RefusedPull {
            cause,
            registry: refusing.registry.clone(),
        };
        let key = is_of_token.then(|| refusing.token_key());
        assert_eq!(pull.refused_key(&registries), key, "{cause}");
        // An image of a registry that the Secret need not open, such as one that a rule denies.
        assert_eq!(
            pull.refused_key(std::slice::from_ref(&other)),
            None,
            "{cause}"
        );
    }
}

#[test]
fn missing_credentials_are_due_after_a_minute() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let registry = Registry::of_host("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
    let all = [
        Cause::TokenExpired,
        Cause::TokenInvalid,
        Cause::PullUnauthenticated,
        Cause::PullRefused,
        Cause::RegistryUnreachable,
        Cause::RegistryBusy,
        Cause::PullDenied,
        Cause::ImageNotFound,
    ];
    let pulls = all.map(|cause| RefusedPull {
        cause,
        registry: registry.clone(),
    });
    let due = |created, now| -> Vec<Cause> {
        let due = due(&pulls, created, at(now));
        due.map(|pull| pull.cause).collect()
    };
    let others = [Cause::PullDenied, Cause::ImageNotFound];
    assert_eq!(due(Some(at(0)), 60), others);
    assert_eq!(due(None, 1000), others);
    assert_eq!(due(Some(at(0)), 61), all);
}
