//! Clients of ECR: one for each token key, which signs with the identity of the key.
//!
//! Ambient credentials come from [`super::keys`]. A client is kept because it caches credentials: a
//! role is assumed once per session, not once per token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ecr_pull_secrets_core::aws::variables::Use;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::{AssumeRole, Identity, TokenKey};
use ecr_pull_secrets_core::image::Endpoint;
use ecr_pull_secrets_core::token::MAX_KEYS;
use lru::LruCache;
use tokio::sync::Mutex;

use super::checked::CheckedKeys;
use super::environment::{InvalidSetting, check, http_client, variable};
use super::keys::Ambient;

/// The deadline of one attempt. The SDK has none: a silent server would hold a call forever.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The deadline of all attempts of a call, credentials included.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// The name of the application, which STS and CloudTrail show.
const NAME: &str = "ecr-pull-secrets";

/// Clients of ECR by token key.
pub(crate) struct EcrClients {
    credentials: PathBuf,
    /// `AWS_REGION`, the region of STS; where it is not set, the registry's region is.
    home: Option<String>,
    /// An endpoint from the environment excludes the FIPS and dual-stack ones.
    endpoint_from_environment: bool,
    /// All clients share its connections.
    http: SharedHttpClient,
    clients: Mutex<LruCache<TokenKey, CachedClient>>,
}

struct CachedClient {
    client: aws_sdk_ecr::Client,
    /// The endpoints that the client was built with.
    endpoints: Endpoints,
}

impl EcrClients {
    /// Reads the environment, and no file yet. `credentials` is the directory of mounted keys.
    pub(crate) fn new(credentials: &Path) -> Self {
        Self {
            credentials: credentials.to_owned(),
            home: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            endpoint_from_environment: variable("AWS_ENDPOINT_URL").is_some()
                || variable("AWS_ENDPOINT_URL_ECR").is_some(),
            http: SharedHttpClient::new(http_client()),
            clients: Mutex::new(LruCache::new(MAX_KEYS)),
        }
    }

    /// The client that mints for a key. `endpoints` are those of the key's region; where they have
    /// changed, the client is built again.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the variable that the client cannot be built with.
    pub(super) async fn client(
        &self,
        key: &TokenKey,
        endpoints: &Endpoints,
    ) -> Result<aws_sdk_ecr::Client, InvalidSetting> {
        let mut clients = self.clients.lock().await;
        if let Some(cached) = clients.get(key)
            && cached.endpoints == *endpoints
        {
            return Ok(cached.client.clone());
        }
        if endpoints.ecr.is_none() {
            check(Use::Always)?;
        }
        if endpoints.sts.is_none() && matches!(key.identity, Identity::Role(_)) {
            check(Use::Sts)?;
        }
        let client = self.build(key, endpoints).await;
        let cached = CachedClient {
            client: client.clone(),
            endpoints: endpoints.clone(),
        };
        clients.put(key.clone(), cached);
        Ok(client)
    }

    /// Drops a client, and the credentials that it cached.
    pub(crate) async fn forget(&self, key: &TokenKey) {
        self.clients.lock().await.pop(key);
    }

    async fn build(&self, key: &TokenKey, endpoints: &Endpoints) -> aws_sdk_ecr::Client {
        let region = Region::new(key.region.to_string());
        let home = self
            .home
            .clone()
            .map_or_else(|| region.clone(), Region::new);
        let base = self.ambient(home).await;
        let mut config = aws_sdk_ecr::config::Builder::from(&base).region(region.clone());
        if let Identity::Role(role) = &key.identity {
            let provider = assume(role, &base, region, endpoints.sts.as_deref()).await;
            config = config.credentials_provider(CheckedKeys(provider));
        }
        if let Some(url) = &endpoints.ecr {
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

    async fn ambient(&self, region: Region) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        // One quick retry for a connection that died while it was idle; callers back off for longer.
        let retries = RetryConfig::standard()
            .with_max_attempts(2)
            .with_initial_backoff(Duration::from_millis(100));
        let keys = Ambient::new(&self.credentials, region.clone(), self.http.clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .http_client(self.http.clone())
            .credentials_provider(CheckedKeys(keys))
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Ok(name) = AppName::new(NAME) {
            loader = loader.app_name(name);
        }
        loader.load().await
    }
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

    fn key(number: usize) -> TokenKey {
        let host = format!("123456789012.dkr.ecr.us-east-{number}.amazonaws.com");
        TokenKey::new(Identity::Ambient, &Registry::of_host(&host).unwrap())
    }

    #[tokio::test]
    async fn clients_never_outnumber_token_keys() {
        let clients = EcrClients::new(Path::new("none"));
        for number in 0..=MAX_KEYS.get() {
            clients
                .client(&key(number), &Endpoints::default())
                .await
                .unwrap();
        }
        assert_eq!(clients.clients.lock().await.len(), MAX_KEYS.get());
    }

    #[tokio::test]
    async fn client_is_rebuilt_when_endpoints_change() {
        let clients = EcrClients::new(Path::new("none"));
        for ecr in [
            None,
            Some("https://one.example"),
            Some("https://two.example"),
        ] {
            let endpoints = Endpoints {
                ecr: ecr.map(str::to_owned),
                sts: None,
            };
            clients.client(&key(1), &endpoints).await.unwrap();
            let kept = clients.clients.lock().await;
            assert_eq!(kept.len(), 1);
            assert_eq!(kept.peek(&key(1)).unwrap().endpoints, endpoints);
        }
    }
}
