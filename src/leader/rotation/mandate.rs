//! What rotation may write into one Secret.

use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::revision::{Aim, Intent};
use ecr_pull_secrets_core::target::Target;
use jiff::Timestamp;

use crate::config::InForce;
use crate::engine::Engine;
use crate::pull_secret::mandate::Mandate;
use crate::wants::Renewal;

/// The mandate of rotation. A new configuration ends the loop, but a write may be between two rounds then.
pub(super) struct RenewalMandate {
    engine: Arc<Engine>,
    target: Target,
    since: Timestamp,
    grants: Vec<Grant>,
}

impl RenewalMandate {
    /// The mandate for a Secret, if any of its entries is renewed, by rules in force since `since`.
    pub(super) fn new(
        engine: Arc<Engine>,
        config: &InForce,
        target: Target,
        since: Timestamp,
    ) -> Option<Self> {
        let grants = grants(&engine, config, &target);
        (!grants.is_empty()).then_some(Self {
            engine,
            target,
            since,
            grants,
        })
    }
}

impl Mandate for RenewalMandate {
    async fn review(&mut self) -> Result<Intent<'_>, Cause> {
        let config = self.engine.live.snapshot();
        self.grants = grants(&self.engine, &config, &self.target);
        if self.grants.is_empty() {
            return Err(Cause::StillWorking);
        }
        let intent = Intent::new(&config, self.since, &self.grants, Aim::Newest);
        Ok(intent)
    }
}

/// The held tokens for every entry of a Secret that is renewed: if these are all entries, a write
/// needs no read.
fn grants(engine: &Engine, config: &InForce, target: &Target) -> Vec<Grant> {
    let mut renewals = engine.wants.renewals(config);
    let holds = engine.ledger.read().holds_of(target);
    let grants = holds.iter().filter_map(|hold| {
        let Renewal { registry, key, .. } = renewals.renewal(target, &hold.host)?;
        let token = engine.supply.held(&key)?;
        Some(Grant::new(registry, &key.identity, token))
    });
    grants.collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use ecr_pull_secrets_core::config::Config;
    use ecr_pull_secrets_core::identity::{Access, Identity};
    use ecr_pull_secrets_core::image::Registry;
    use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER};
    use ecr_pull_secrets_core::token::Token;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;
    use crate::clock;
    use crate::cluster::client::Clients;
    use crate::cluster::look_ups::LookUps;
    use crate::engine::Blueprint;
    use crate::telemetry::metrics::Metrics;

    fn metadata(object: Value) -> ObjectMeta {
        serde_json::from_value(object).unwrap()
    }

    fn engine() -> Arc<Engine> {
        let absent = service_fn(async |_: Request<Body>| {
            Err::<Response<Full<Bytes>>, _>(io::Error::other("no call is made"))
        });
        let client = Client::new(absent, "default");
        let clients = Clients {
            watch: client.clone(),
            call: client,
            look_ups: LookUps::default(),
        };
        let (engine, _) = Engine::build(Blueprint {
            config: Config::default(),
            clients,
            namespace: "ours",
            aws_credentials_dir: Path::new("none"),
            metrics: Metrics::default(),
        });
        engine
    }

    /// The mandate for a Secret with one entry.
    fn mandate() -> (Arc<Engine>, RenewalMandate) {
        let (engine, target) = (engine(), Target::new("team", "ecr-registry-credentials"));
        let (config, now) = (engine.live.snapshot(), clock::now());
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let access = Access {
            registry: Registry::of_host(host).unwrap(),
            identity: Identity::Ambient,
        };
        // base64 of AWS:password
        let token = Token::new("QVdTOnBhc3N3b3Jk".to_owned(), now, None).unwrap();
        engine.supply.learn(access.token_key(), token.clone());
        let held = [Grant::new(access.registry.clone(), &access.identity, token)];
        let content = Intent::new(&config, now, &held, Aim::Newest)
            .whole(now)
            .content;
        engine.ledger.saw(&metadata(json!({
            "namespace": &*target.namespace, "name": &*target.secret, "uid": "1", "resourceVersion": "1",
            "labels": { (MANAGED_BY): OWNER }, "annotations": content.annotations,
        })));
        engine.wants.provision(&target, &[access]);
        engine.namespaces.saw(&metadata(json!({ "name": "team" })));
        let mandate = RenewalMandate::new(engine.clone(), &config, target, now);
        (engine, mandate.expect("the entry is renewed"))
    }

    /// The number of tokens that it allows to write.
    async fn allowed(mandate: &mut RenewalMandate) -> Result<usize, Cause> {
        mandate.review().await.map(|intent| intent.grants.len())
    }

    #[tokio::test]
    async fn mandate_obeys_new_rules() {
        let (engine, mut mandate) = mandate();
        let denies = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nrules: [{ deny: {} }]\n";
        let (denies, _) = engine.live.successor(Config::parse(denies).unwrap());
        engine.live.replace(denies);
        assert_eq!(allowed(&mut mandate).await, Err(Cause::StillWorking));
    }

    #[tokio::test]
    async fn mandate_ends_with_the_namespace() {
        let (engine, mut mandate) = mandate();
        assert_eq!(allowed(&mut mandate).await, Ok(1));
        let going = json!({ "name": "team", "deletionTimestamp": "2026-01-01T00:00:00Z" });
        engine.namespaces.saw(&metadata(going));
        assert_eq!(allowed(&mut mandate).await, Err(Cause::StillWorking));
    }
}
