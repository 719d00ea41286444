//! AWS credentials: an identity of the rules to a client of ECR that signs with it.
//!
//! Ambient credentials come from [`super::keys`]. A client is kept, because it is what caches
//! credentials: a role is assumed once per session, not once per token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::config::retry::RetryConfig;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::AssumeRole;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Endpoint;
use lru::LruCache;
use tokio::sync::Mutex;

use super::LIVE_KEYS;
use super::keys::Ambient;

/// One attempt. The SDK itself has no limit: a server that stays silent would hold a call for ever.
const ATTEMPT: Duration = Duration::from_secs(2);
/// All attempts of a call, credentials included.
const CALL: Duration = Duration::from_secs(4);
/// Of STS and of CloudTrail's log: who asked.
const NAME: &str = "ecr-pull-secrets";

/// Clients of ECR by what they mint for.
pub(crate) struct Clients {
    endpoints: BTreeMap<String, Endpoints>,
    credentials: PathBuf,
    /// `AWS_REGION`, where STS is asked; the registry's region where it is not set.
    home: Option<String>,
    /// An endpoint from the environment excludes the FIPS and dual-stack ones.
    endpoint_from_environment: bool,
    clients: Mutex<LruCache<TokenKey, aws_sdk_ecr::Client>>,
}

impl Clients {
    /// Reads the environment, and nothing else yet.
    pub(crate) fn new(endpoints: BTreeMap<String, Endpoints>, credentials: &Path) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoints,
            credentials: credentials.to_owned(),
            home: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            endpoint_from_environment: variable("AWS_ENDPOINT_URL").is_some()
                || variable("AWS_ENDPOINT_URL_ECR").is_some(),
            clients: Mutex::new(LruCache::new(LIVE_KEYS)),
        }
    }

    /// The client that mints for a key.
    pub(crate) async fn client(&self, key: &TokenKey) -> aws_sdk_ecr::Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(key) {
            return client.clone();
        }
        let client = self.build(key).await;
        clients.put(key.clone(), client.clone());
        client
    }

    /// Drops a client, and the credentials that it cached.
    pub(crate) async fn forget(&self, key: &TokenKey) {
        self.clients.lock().await.pop(key);
    }

    async fn build(&self, key: &TokenKey) -> aws_sdk_ecr::Client {
        let region = Region::new(key.region.to_string());
        let endpoints = self.endpoints.get(&*key.region);
        let home = self
            .home
            .clone()
            .map_or_else(|| region.clone(), Region::new);
        let base = ambient(home, &self.credentials).await;
        let mut config = aws_sdk_ecr::config::Builder::from(&base).region(region.clone());
        if let Identity::Role(role) = &key.identity {
            let sts = endpoints.and_then(|endpoints| endpoints.sts.as_deref());
            config = config.credentials_provider(assume(role, &base, region, sts).await);
        }
        if let Some(url) = endpoints.and_then(|endpoints| endpoints.ecr.as_deref()) {
            config = config.endpoint_url(url);
        } else if !self.endpoint_from_environment {
            let (fips, dual_stack) = match key.endpoint {
                Endpoint::Standard => (false, false),
                Endpoint::Fips => (true, false),
                Endpoint::DualStack => (false, true),
                Endpoint::DualStackFips => (true, true),
            };
            config = config.use_fips(fips).use_dual_stack(dual_stack);
        }
        aws_sdk_ecr::Client::from_conf(config.build())
    }
}

async fn ambient(region: Region, credentials: &Path) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build();
    // One quick second try for a connection that died while idle; longer pauses are the caller's.
    let retries = RetryConfig::standard()
        .with_max_attempts(2)
        .with_initial_backoff(Duration::from_millis(100));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .credentials_provider(Ambient::new(credentials, region))
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Ok(name) = AppName::new(NAME) {
        loader = loader.app_name(name);
    }
    loader.load().await
}

async fn assume(
    role: &AssumeRole,
    base: &SdkConfig,
    region: Region,
    sts: Option<&str>,
) -> AssumeRoleProvider {
    let mut base = base.clone().into_builder();
    if let Some(url) = sts {
        base.set_endpoint_url(Some(url.to_owned()));
    }
    let mut provider = AssumeRoleProvider::builder(role.role_arn.clone())
        .session_name(role.session_name.as_deref().unwrap_or(NAME))
        .region(region)
        .configure(&base.build());
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    provider.build().await
}

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::image::Registry;

    use super::*;

    #[tokio::test]
    async fn no_more_clients_are_kept_than_there_are_live_tokens() {
        let clients = Clients::new(BTreeMap::new(), Path::new("none"));
        for number in 0..=LIVE_KEYS.get() {
            let host = format!("123456789012.dkr.ecr.us-east-{number}.amazonaws.com");
            let registry = Registry::of_host(&host).unwrap();
            clients
                .client(&TokenKey::new(Identity::Ambient, &registry))
                .await;
        }
        assert_eq!(clients.clients.lock().await.len(), LIVE_KEYS.get());
    }
}
