//! A writer with an outdated ledger, like that of a leader that was frozen: on a real API server,
//! without the watch.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets::clock;
use ecr_pull_secrets::pull_secret_writer::{
    Ledger, Mandate, SecretWriter, Trigger, WriteTurn, Written,
};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::{Adopt, Config as Settings};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::revision::{Aim, Intent};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::token::Token;
use jiff::{SignedDuration, Timestamp};
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
    deleted_secret_stays_deleted,
    foreign_secret_is_left_alone,
    older_token_is_not_written,
    added_registry_is_kept,
    exclusive_secret_is_renewed_without_a_read,
);

/// A writer, its ledger and the Secret that it writes.
struct Late {
    writer: SecretWriter,
    settings: Settings,
    ledger: Arc<Ledger>,
    target: Target,
}

impl Late {
    fn new(namespace: &Namespace, client: &Client, ledger: Arc<Ledger>) -> Self {
        let mut settings = Settings::default();
        settings.secret.name = SECRET.to_owned();
        settings.secret.adopt = Adopt::Never;
        Self {
            writer: SecretWriter::alone(client.clone(), ledger.clone()),
            settings,
            ledger,
            target: Target::new(namespace.name.as_str(), SECRET),
        }
    }

    async fn write(&self, grants: &[Grant]) {
        let turn = self.writer.turn().await;
        let since = self.settings.since;
        let mut mandate = Fixed(Intent::new(&self.settings, since, grants, Aim::Serving));
        let trigger = Trigger::admission;
        let written = self.writer.write(&self.target, &mut mandate, trigger, turn);
        assert!(written.await.expect("a write").applied);
    }

    async fn renew(&self, grants: &[Grant]) -> Result<Written, Cause> {
        let (turn, since) = (WriteTurn::default(), Timestamp::MIN);
        let mut mandate = Fixed(Intent::new(&self.settings, since, grants, Aim::Newest));
        let trigger = Trigger::rotation;
        self.writer
            .write(&self.target, &mut mandate, trigger, turn)
            .await
    }
}

/// The mandate of a writer that learns nothing.
struct Fixed<'a>(Intent<'a>);

impl Mandate for Fixed<'_> {
    async fn review(&mut self) -> Result<Intent<'_>, Cause> {
        Ok(self.0)
    }
}

/// A writer that has written a token that expires in six hours.
async fn late(namespace: &Namespace) -> Late {
    let late = Late::new(namespace, &namespace.client, Arc::default());
    late.write(&[grant(&namespace.host(), "first", 6)]).await;
    late
}

/// Another replica, whose ledger is up to date.
async fn other_replica(namespace: &Namespace) -> Late {
    let ledger = Arc::<Ledger>::default();
    ledger.saw(&namespace.secret_comes().await.metadata);
    Late::new(namespace, &namespace.client, ledger)
}

/// A token that is minted now, with this lifetime in hours.
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

async fn deleted_secret_stays_deleted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let secrets = namespace.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let newer = [grant(&namespace.host(), "newer", 7)];
    assert_eq!(late.renew(&newer).await, Ok(Written::default()));
    assert!(namespace.secret().await.is_none());
    assert!(!late.ledger.holds(&late.target));
    Ok(())
}

async fn foreign_secret_is_left_alone(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let secrets = namespace.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let theirs = json!({ "type": "Opaque", "data": { "key": "dmFsdWU=" } });
    let theirs = namespace.foreign_secret("another-manager", theirs).await;
    let newer = [grant(&namespace.host(), "newer", 7)];
    let refused = late.renew(&newer).await;
    assert_eq!(refused, Err(Cause::ForeignType));
    assert_eq!(namespace.secret_comes().await.data, theirs.data);
    Ok(())
}

async fn older_token_is_not_written(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let newest = [grant(&namespace.host(), "newest", 8)];
    let renewed = other_replica(&namespace).await.renew(&newest).await;
    assert!(renewed.is_ok_and(|written| written.applied));
    let newer = [grant(&namespace.host(), "newer", 7)];
    assert_eq!(late.renew(&newer).await, Ok(Written::default()));
    let secret = namespace.secret_comes().await;
    assert_eq!(password(&secret, &namespace.host()), "newest");
    Ok(())
}

async fn added_registry_is_kept(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let late = late(&namespace).await;
    let added = [grant(&second(&namespace), "added", 6)];
    other_replica(&namespace).await.write(&added).await;
    let newer = [grant(&namespace.host(), "newer", 7)];
    let renewed = late.renew(&newer).await;
    assert!(renewed.is_ok_and(|written| written.applied));
    let secret = namespace.secret_comes().await;
    assert_eq!(password(&secret, &namespace.host()), "newer");
    assert_eq!(password(&secret, &second(&namespace)), "added");
    Ok(())
}

/// The renewing account has no right to read Secrets.
async fn exclusive_secret_is_renewed_without_a_read(world: Arc<World>) -> Outcome {
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
    let blind = Late::new(&namespace, &Client::try_from(config)?, sighted.ledger);
    for (round, hours) in [(1, 7), (2, 8)] {
        let next = format!("round-{round}");
        let grants = [grant(&namespace.host(), &next, hours)];
        let renewed = blind.renew(&grants).await;
        assert!(renewed.is_ok_and(|written| written.applied), "{next}");
        let secret = namespace.secret_comes().await;
        assert_eq!(password(&secret, &namespace.host()), next);
    }
    // Another replica added a registry, so the writer has to read.
    let added = [grant(&second(&namespace), "added", 6)];
    other_replica(&namespace).await.write(&added).await;
    let newer = [grant(&namespace.host(), "newer", 9)];
    let refused = blind.renew(&newer).await;
    assert_eq!(refused, Err(Cause::RbacForbidden));
    Ok(())
}
