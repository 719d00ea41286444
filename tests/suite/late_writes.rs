//! A writer with a stale view, such as a leader that was frozen: on a real API server, but with a ledger
//! that no watch feeds.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets::clock;
use ecr_pull_secrets::cluster::apply::PullSecretApi;
use ecr_pull_secrets::pull_secret::ledger::Ledger;
use ecr_pull_secrets::pull_secret::write::{Writer, Written};
use ecr_pull_secrets::telemetry::events;
use ecr_pull_secrets::telemetry::metrics::{Metrics, Trigger};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Adopt;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::token::Token;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::DeleteParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET};
use crate::harness::{Outcome, World, docker};

trials!(
    late_write_leaves_a_deleted_secret_deleted,
    late_create_leaves_a_foreign_secret_alone,
    late_write_keeps_a_newer_token,
    late_write_keeps_an_added_registry,
    secret_without_edits_is_renewed_without_a_read,
);

/// A writer and its stale view.
struct Late {
    writer: Writer,
    ledger: Arc<Ledger>,
}

impl Late {
    fn new(client: &Client, ledger: Arc<Ledger>) -> Self {
        let writer = Writer::new(
            PullSecretApi::new(client.clone(), SECRET),
            ledger.clone(),
            Adopt::Never,
            Duration::from_secs(3600),
            Metrics::default(),
            events::channel(client.clone(), "late").0,
        );
        Self { writer, ledger }
    }

    async fn write(&self, namespace: &Namespace, grants: &[Grant]) {
        let written = self
            .writer
            .write(&namespace.name, grants, Trigger::admission);
        assert!(written.await.expect("a write").applied);
    }

    async fn renew(&self, namespace: &Namespace, grants: &[Grant]) -> Result<Written, Cause> {
        self.writer.renew(&namespace.name, grants).await
    }
}

/// A writer that wrote a token which expires in six hours.
async fn late(namespace: &Namespace) -> Late {
    let late = Late::new(&namespace.client, Arc::new(Ledger::new(SECRET)));
    late.write(namespace, &[grant(&namespace.host(), "first", 6)])
        .await;
    late
}

/// A second writer, with a view of its own.
async fn another(namespace: &Namespace) -> Late {
    let ledger = Arc::new(Ledger::new(SECRET));
    ledger.saw(&namespace.secret_comes().await.metadata);
    Late::new(&namespace.client, ledger)
}

/// A token that is minted now and expires in `hours`.
fn grant(host: &str, password: &str, hours: i64) -> Grant {
    let now = clock::now();
    let text = BASE64_STANDARD.encode(format!("AWS:{password}"));
    let end = now.checked_add(SignedDuration::from_hours(hours));
    Grant {
        registry: Registry::of_host(host).expect("a registry"),
        identity: "ambient".into(),
        token: Token::new(text, now, end.ok()).expect("a token"),
    }
}

fn second(namespace: &Namespace) -> String {
    namespace.host().replace(ACCOUNT, "210987654321")
}

fn password(secret: &Secret, host: &str) -> String {
    let pair = BASE64_STANDARD.decode(docker::auth(secret, host));
    let pair = String::from_utf8(pair.expect("base64")).expect("a text");
    pair.trim_start_matches("AWS:").to_owned()
}

async fn late_write_leaves_a_deleted_secret_deleted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let secrets = namespace.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let newer = [grant(&namespace.host(), "newer", 7)];
    assert_eq!(late.renew(&namespace, &newer).await, Ok(Written::default()));
    assert!(namespace.secret().await.is_none());
    assert!(!late.ledger.holds(&namespace.name));
    Ok(())
}

async fn late_create_leaves_a_foreign_secret_alone(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let secrets = namespace.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let theirs = json!({ "type": "Opaque", "data": { "key": "dmFsdWU=" } });
    let theirs = namespace.foreign_secret("another", theirs).await;
    let newer = [grant(&namespace.host(), "newer", 7)];
    let refused = late.renew(&namespace, &newer).await;
    assert_eq!(refused, Err(Cause::ForeignType));
    assert_eq!(namespace.secret_comes().await.data, theirs.data);
    Ok(())
}

async fn late_write_keeps_a_newer_token(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let newest = [grant(&namespace.host(), "newest", 8)];
    let renewed = another(&namespace).await.renew(&namespace, &newest).await;
    assert!(renewed.is_ok_and(|written| written.applied));
    let newer = [grant(&namespace.host(), "newer", 7)];
    assert_eq!(late.renew(&namespace, &newer).await, Ok(Written::default()));
    let secret = namespace.secret_comes().await;
    assert_eq!(password(&secret, &namespace.host()), "newest");
    Ok(())
}

async fn late_write_keeps_an_added_registry(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let added = [grant(&second(&namespace), "added", 6)];
    another(&namespace).await.write(&namespace, &added).await;
    let newer = [grant(&namespace.host(), "newer", 7)];
    let renewed = late.renew(&namespace, &newer).await;
    assert!(renewed.is_ok_and(|written| written.applied));
    let secret = namespace.secret_comes().await;
    assert_eq!(password(&secret, &namespace.host()), "newer");
    assert_eq!(password(&secret, &second(&namespace)), "added");
    Ok(())
}

/// The writer has no right to read.
async fn secret_without_edits_is_renewed_without_a_read(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let sighted = late(&namespace).await;
    let user = format!("blind-{}", namespace.name);
    let role = json!({ "metadata": { "name": "blind" }, "rules": [
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["patch"] },
    ] });
    namespace.create::<Role>(role).await?;
    let binding = json!({
        "metadata": { "name": "blind" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "blind" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    namespace.create::<RoleBinding>(binding).await?;
    let kubeconfig = Kubeconfig::read_from(&world.cluster.kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.auth_info.impersonate = Some(user);
    let blind = Late::new(&Client::try_from(config)?, sighted.ledger);
    for (round, hours) in [(1, 7), (2, 8)] {
        let next = format!("round-{round}");
        let grants = [grant(&namespace.host(), &next, hours)];
        let renewed = blind.renew(&namespace, &grants).await;
        assert!(renewed.is_ok_and(|written| written.applied), "{next}");
        let secret = namespace.secret_comes().await;
        assert_eq!(password(&secret, &namespace.host()), next);
    }
    // A Secret with other entries must be read first.
    let added = [grant(&second(&namespace), "added", 6)];
    another(&namespace).await.write(&namespace, &added).await;
    let newer = [grant(&namespace.host(), "newer", 9)];
    let refused = blind.renew(&namespace, &newer).await;
    assert_eq!(refused, Err(Cause::RbacForbidden));
    Ok(())
}
