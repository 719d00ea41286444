//! CA and leaf that the replicas manage, and what other writers do to them.

use std::sync::Arc;

use http::StatusCode;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::site::{Site, TLS, text};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    replicas_started_together_share_ca_and_leaf,
    api_server_trusts_our_ca_bundle,
    changed_or_emptied_ca_bundle_is_restored,
    deleted_secret_is_recreated_with_the_same_ca,
    new_replica_lets_older_ones_restore_the_ca,
    corrupt_secret_is_repaired_from_memory,
    new_replica_uses_what_is_left,
    foreign_secret_is_left_alone,
    ca_bundle_of_cert_manager_is_left_alone,
    replica_without_registration_is_ready_and_waits,
);

const LIFETIME: &str = "90d";

/// Certificate, key, CA and its key.
fn values(secret: &Secret) -> [String; 4] {
    ["tls.crt", "tls.key", "ca.crt", "ca.key"].map(|key| text(secret, key))
}

fn logged(replica: &Replica, part: &str) -> bool {
    let log = std::fs::read_to_string(&replica.log).expect("a log");
    log.contains(part)
}

async fn replicas_started_together_share_ca_and_leaf(site: Arc<Site>) -> Outcome {
    let replicas = site.open(3, LIFETIME).await;
    let secret = site.secret().await;
    let cas = text(&secret, "ca.crt");
    assert_eq!(cas.matches("BEGIN CERTIFICATE").count(), 1);
    let leaf = replicas[0].leaf(cas.as_bytes()).await?;
    for replica in &replicas {
        assert_eq!(replica.leaf(cas.as_bytes()).await?, leaf);
        let reloads = "ecr_pull_secrets_certificate_reloads_total";
        assert!((replica.metric(reloads, &["ok"]).await - 1.0).abs() < 0.1);
        let end = "ecr_pull_secrets_certificate_expiry_timestamp_seconds";
        assert!(replica.metric(end, &[]).await > 1.7e9);
    }
    assert_eq!(site.bundle().await, cas.as_bytes());
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    let labels = secret.metadata.labels.expect("labels");
    assert_eq!(labels["app.kubernetes.io/managed-by"], OURS);
    let annotations = secret.metadata.annotations.expect("annotations");
    assert_eq!(annotations["ecr-pull-secrets.dev/format"], "1");
    Ok(())
}

async fn api_server_trusts_our_ca_bundle(site: Arc<Site>) -> Outcome {
    site.open(2, LIFETIME).await;
    let (namespace, missed) = (Namespace::new(&site).await, site.missed().await);
    let image = namespace.image("app");
    for number in 0..10 {
        let pod = namespace.pod(&format!("pod-{number}"), &image).await;
        assert_eq!(references(&pod), [SECRET]);
    }
    assert!((site.missed().await - missed).abs() < 0.1);
    Ok(())
}

async fn changed_or_emptied_ca_bundle_is_restored(site: Arc<Site>) -> Outcome {
    let replicas = site.open(2, LIFETIME).await;
    let ours = site.bundle().await;
    let other = rcgen::generate_simple_self_signed(vec!["x".to_owned()])?;
    for corrupt in [None, Some(other.cert.pem().into_bytes())] {
        site.set_bundle(corrupt.as_deref()).await;
        eventually("our CA in the caBundle", LIMIT, || async {
            (site.bundle().await == ours).then_some(())
        })
        .await;
    }
    for replica in replicas {
        let (status, _) = replica.get("/readyz").await.expect("an answer");
        assert_eq!(status, StatusCode::OK);
    }
    // Our field manager owns nothing else of the registration.
    let registration = site.registrations().get("zz-ecr-pull-secrets").await?;
    let fields = registration.metadata.managed_fields.expect("managers");
    let fields = fields
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(OURS));
    let fields: Vec<String> = fields
        .map(|entry| serde_json::to_string(&entry.fields_v1).expect("JSON"))
        .collect();
    let bundle = r#""f:clientConfig":{"f:caBundle":{}}"#;
    assert!(
        fields.iter().any(|fields| fields.contains(bundle)),
        "{fields:?}"
    );
    Ok(())
}

async fn deleted_secret_is_recreated_with_the_same_ca(site: Arc<Site>) -> Outcome {
    site.open(2, LIFETIME).await;
    let before = site.secret().await;
    site.secrets().delete(TLS, &DeleteParams::default()).await?;
    let after = eventually("a new Secret", LIMIT, || async {
        let secret = site.secret().await;
        (secret.metadata.uid != before.metadata.uid).then_some(secret)
    })
    .await;
    assert!(values(&after) == values(&before), "another one");
    Ok(())
}

/// One replica remembers the CA, and one is new. Both see that the Secret is gone.
async fn new_replica_lets_older_ones_restore_the_ca(site: Arc<Site>) -> Outcome {
    let old = site.open(1, LIFETIME).await;
    let before = values(&site.secret().await);
    old[0].freeze();
    site.secrets().delete(TLS, &DeleteParams::default()).await?;
    let new = site.begin(1, LIFETIME);
    eventually("the new replica has read the Secret", LIMIT, || async {
        logged(&new[0], "left to those that remember").then_some(())
    })
    .await;
    old[0].thaw();
    new[0].ready().await;
    assert!(values(&site.secret().await) == before, "another one");
    Ok(())
}

async fn corrupt_secret_is_repaired_from_memory(site: Arc<Site>) -> Outcome {
    let replicas = site.open(2, LIFETIME).await;
    let before = values(&site.secret().await);
    let leaf = replicas[0].leaf(before[2].as_bytes()).await?;
    for corrupt in [
        json!({ "data": { "tls.crt": "Z2FyYmFnZQ==" } }),
        json!({ "data": { "ca.crt": "", "ca.key": null }, "metadata": { "labels": null } }),
    ] {
        site.corrupt(corrupt).await;
        eventually("the earlier content", LIMIT, || async {
            (values(&site.secret().await) == before).then_some(())
        })
        .await;
        for replica in &replicas {
            assert_eq!(replica.leaf(before[2].as_bytes()).await?, leaf);
        }
    }
    assert_eq!(site.bundle().await, before[2].as_bytes());
    assert!(
        replicas
            .iter()
            .any(|replica| logged(replica, "certificate_unusable"))
    );
    Ok(())
}

/// No replica remembers the CA.
async fn new_replica_uses_what_is_left(site: Arc<Site>) -> Outcome {
    let old = site.open(1, LIFETIME).await;
    let before = values(&site.secret().await);
    old[0].stop();
    site.corrupt(json!({ "data": { "tls.key": "Z2FyYmFnZQ==" } }))
        .await;
    site.open(1, LIFETIME).await;
    let leaf_is_new = values(&site.secret().await);
    assert!(leaf_is_new[2] == before[2] && leaf_is_new[0] != before[0]);
    let garbage = "Z2FyYmFnZQ==";
    let all =
        json!({ "tls.crt": garbage, "tls.key": garbage, "ca.crt": garbage, "ca.key": garbage });
    site.clear().await;
    site.open(1, LIFETIME).await[0].stop();
    site.corrupt(json!({ "data": all })).await;
    site.open(1, LIFETIME).await;
    site.trusted().await;
    Ok(())
}

async fn foreign_secret_is_left_alone(site: Arc<Site>) -> Outcome {
    let own = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()])?;
    let theirs = json!({
        "metadata": { "name": TLS },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": own.cert.pem(), "tls.key": own.signing_key.serialize_pem() },
    });
    let theirs: Secret = serde_json::from_value(theirs)?;
    let theirs = site
        .secrets()
        .create(&PostParams::default(), &theirs)
        .await?;
    let replica = site.begin(1, LIFETIME).remove(0);
    eventually("the replica reports a fault", LIMIT, || async {
        logged(&replica, "certificate_foreign").then_some(())
    })
    .await;
    let (status, body) = replica.get("/readyz").await.expect("an answer");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "no serving certificate\n");
    let after = site.secrets().get(TLS).await?;
    assert_eq!(
        after.metadata.resource_version,
        theirs.metadata.resource_version
    );
    // The remedy of `certificate_foreign`.
    site.secrets().delete(TLS, &DeleteParams::default()).await?;
    replica.ready().await;
    Ok(())
}

async fn ca_bundle_of_cert_manager_is_left_alone(site: Arc<Site>) -> Outcome {
    site.annotate(json!("somewhere/else")).await;
    let replica = site.begin(1, LIFETIME).remove(0);
    eventually("the replica reports a fault", LIMIT, || async {
        logged(&replica, "ca_bundle_foreign").then_some(())
    })
    .await;
    let (_, body) = replica.get("/readyz").await.expect("an answer");
    assert!(body.contains("caBundle"), "{body}");
    assert!(site.bundle().await.is_empty());
    site.annotate(Value::Null).await;
    replica.ready().await;
    site.trusted().await;
    Ok(())
}

async fn replica_without_registration_is_ready_and_waits(site: Arc<Site>) -> Outcome {
    let registrations = site.registrations();
    let name = "zz-ecr-pull-secrets";
    let mut registration = registrations.get(name).await?;
    registrations.delete(name, &DeleteParams::default()).await?;
    let replica = site.begin(1, LIFETIME).remove(0);
    replica.ready().await;
    registration.metadata.resource_version = None;
    registration.metadata.managed_fields = None;
    registrations
        .create(&PostParams::default(), &registration)
        .await?;
    site.trusted().await;
    Ok(())
}
