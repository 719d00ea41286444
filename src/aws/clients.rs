//! Clients of ECR, each of which signs with the identity of a token key.
//!
//! Credentials that the process holds come from [`super::key_source`], and all clients share them and their connections. A
//! client of a role lives for one call: a role is assumed for each token, twice a day, so nothing of it
//! is worth its memory, which a thousand roles would multiply.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecr::config::retry::RetryConfig;
use aws_sdk_ecr::config::{IdentityCache, SharedIdentityCache};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ecr_pull_secrets_core::aws::reloads::CredentialReloads;
use ecr_pull_secrets_core::aws::sts_place::{EndpointKind, StsPlace};
use ecr_pull_secrets_core::aws::variables::Use;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::{AssumeRole, Identity, NamedCredentials, TokenKey};
use ecr_pull_secrets_core::image::Endpoint;
use lru::LruCache;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::checked::CheckedKeys;
use super::environment::{InvalidSetting, check, has_endpoint, http_client, variable};
use super::key_source::{KeyProvider, KeySource};
use super::session::SharedSession;
use super::sts::{CONNECT_TIMEOUT, NAME, RoleKeys, Sts, retry_partition};

/// The deadline of a call for a token: of its turns at ECR, at STS and at every other source of
/// credentials. [`CONNECT_TIMEOUT`] and the like limit each of them. [`super::mint`] keeps to it.
pub(super) const MINT_TIMEOUT: Duration = Duration::from_secs(20);
/// The deadline of an answer of ECR. The SDK has none: a silent server would hold a call for long.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The most clients, and places of STS, that are kept for credentials that are held. One that was evicted
/// is built again.
const MAX_KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Clients of ECR by token key.
pub(crate) struct EcrClients {
    credentials: PathBuf,
    /// `AWS_REGION`, for [`StsPlace`].
    home: Option<String>,
    /// All clients share its connections.
    http: SharedHttpClient,
    started: Instant,
    kept: Mutex<KeptClients>,
}

/// What clients share.
struct KeptClients {
    /// How often it was dropped.
    generation: u64,
    reloads: CredentialReloads,
    /// Settings with the credentials that are held, by place of STS.
    bases: LruCache<(HeldKeys, StsPlace), ClientBase>,
    /// Clients that sign with credentials that are held.
    clients: LruCache<(HeldKeys, Arc<str>, Endpoint), CachedClient>,
}

/// Credentials that the process holds: the ambient ones, or further ones that are mounted.
type HeldKeys = Option<Arc<NamedCredentials>>;

/// What clients start from.
#[derive(Clone)]
struct ClientBase {
    /// Signs with the credentials that are held.
    config: SdkConfig,
    sts: Sts,
}

struct CachedClient {
    client: aws_sdk_ecr::Client,
    /// The endpoints that the client was built with.
    endpoints: Endpoints,
}

/// What a client was built from, for [`EcrClients::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientGeneration(u64);

impl EcrClients {
    /// Reads the environment, and no file yet. `credentials` is the directory of mounted keys.
    pub(crate) fn new(credentials: &Path) -> Self {
        Self {
            credentials: credentials.to_owned(),
            home: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            http: SharedHttpClient::new(http_client()),
            started: Instant::now(),
            kept: Mutex::new(KeptClients {
                generation: 0,
                reloads: CredentialReloads::default(),
                bases: LruCache::new(MAX_KEPT),
                clients: LruCache::new(MAX_KEPT),
            }),
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
    ) -> Result<(aws_sdk_ecr::Client, ClientGeneration), InvalidSetting> {
        let is_role = matches!(key.identity, Identity::Role(_));
        let keys: HeldKeys = match &key.identity {
            Identity::Ambient | Identity::Role(_) => None,
            Identity::Credentials(named) => Some(named.clone()),
        };
        let slot = (keys.clone(), key.region.clone(), key.endpoint);
        let (base, generation) = {
            let mut kept = self.kept.lock().await;
            let generation = ClientGeneration(kept.generation);
            if !is_role
                && let Some(cached) = kept.clients.get(&slot)
                && cached.endpoints == *endpoints
            {
                return Ok((cached.client.clone(), generation));
            }
            if endpoints.ecr.is_none() {
                check(Use::Always)?;
            }
            if endpoints.sts.is_none() && is_role {
                check(Use::Sts)?;
            }
            let (home, url) = (self.home.as_deref(), endpoints.sts.as_deref());
            let place = StsPlace::of(home, &key.region, key.endpoint, url);
            let start = (keys, place);
            let base = if let Some(base) = kept.bases.get(&start) {
                base.clone()
            } else {
                let base = self.base(&start).await;
                kept.bases.put(start, base.clone());
                base
            };
            (base, generation)
        };
        let client = build(key, endpoints, &base);
        if !is_role {
            let cached = CachedClient {
                client: client.clone(),
                endpoints: endpoints.clone(),
            };
            let mut kept = self.kept.lock().await;
            // It was built from what is no longer there.
            if ClientGeneration(kept.generation) == generation {
                kept.clients.put(slot, cached);
            }
        }
        Ok((client, generation))
    }

    /// Drops the credentials that are held, and the clients that use them, as often as
    /// [`CredentialReloads`] allows; only once for all the calls that used the same. `None` stands
    /// for whatever there is.
    pub(crate) async fn forget(&self, used: Option<ClientGeneration>, has_worked: bool) {
        let mut kept = self.kept.lock().await;
        let is_current = used.is_none_or(|used| used == ClientGeneration(kept.generation));
        if is_current && kept.reloads.reload(has_worked, self.started.elapsed()) {
            kept.generation += 1;
            kept.bases.clear();
            kept.clients.clear();
        }
    }

    async fn base(&self, (keys, place): &(HeldKeys, StsPlace)) -> ClientBase {
        let region = Region::new(place.region.clone());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        // One quick retry, for a connection that died while it was idle or a lone fault of AWS. So up to
        // twice as many requests arrive as `MintPace` counts. Callers back off for longer.
        let retries = RetryConfig::standard()
            .with_max_attempts(2)
            .with_initial_backoff(Duration::from_millis(100));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .no_credentials()
            .region(region.clone())
            .http_client(self.http.clone())
            .identity_cache(identity_cache())
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Ok(name) = AppName::new(NAME) {
            loader = loader.app_name(name);
        }
        let config = loader.load().await;
        let kind = place.kind.or(kind_of(&config));
        let of_sts = config
            .to_builder()
            .use_fips(kind.fips)
            .use_dual_stack(kind.dual_stack);
        let sts = Sts::new(of_sts.build(), place);
        let source = match keys {
            None => KeySource::Chain(self.credentials.clone()),
            Some(named) => KeySource::Mounted(directory_of(&self.credentials, named)),
        };
        let keys = KeyProvider::new(source, region, self.http.clone(), sts.clone());
        let keys = SharedCredentialsProvider::new(SharedSession::new(CheckedKeys(keys)));
        let config = config.into_builder().credentials_provider(keys).build();
        ClientBase { config, sts }
    }
}

/// The directory of further credentials: the one of the ambient ones, with `-NAME` at its end.
fn directory_of(credentials: &Path, named: &NamedCredentials) -> PathBuf {
    let mut directory = credentials.as_os_str().to_owned();
    directory.push(format!("-{}", named.name));
    directory.into()
}

/// What environment and profile want of an endpoint.
fn kind_of(config: &SdkConfig) -> EndpointKind {
    EndpointKind {
        fips: config.use_fips().unwrap_or_default(),
        dual_stack: config.use_dual_stack().unwrap_or_default(),
    }
}

/// A cache that waits for credentials as long as a call may take.
fn identity_cache() -> SharedIdentityCache {
    IdentityCache::lazy().load_timeout(MINT_TIMEOUT).build()
}

fn build(key: &TokenKey, endpoints: &Endpoints, base: &ClientBase) -> aws_sdk_ecr::Client {
    let ClientBase { config, sts } = base;
    let mut builder =
        aws_sdk_ecr::config::Builder::from(config).region(Region::new(key.region.to_string()));
    if let Identity::Role(role) = &key.identity
        && let Some(signer) = config.credentials_provider()
    {
        let (sts, role) = (sts.clone(), AssumeRole::clone(role));
        // Its own cache ends with the client.
        builder = builder
            .credentials_provider(CheckedKeys(RoleKeys { sts, role, signer }))
            .identity_cache(identity_cache());
    }
    let mut kind = kind_of(config).or(key.endpoint.into());
    if let Some(url) = &endpoints.ecr {
        builder = builder.endpoint_url(url);
    }
    if endpoints.ecr.is_some() || has_endpoint(config, "ECR") {
        kind = EndpointKind::default();
    }
    builder.set_retry_partition(retry_partition(&key.region));
    let builder = builder.use_fips(kind.fips).use_dual_stack(kind.dual_stack);
    aws_sdk_ecr::Client::from_conf(builder.build())
}

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::image::Registry;

    use super::*;

    fn key(number: usize) -> TokenKey {
        let host = format!("123456789012.dkr.ecr.us-east-{number}.amazonaws.com");
        TokenKey::new(Identity::Ambient, &Registry::of_host(&host).unwrap())
    }

    fn of_role(number: usize) -> TokenKey {
        let role = AssumeRole {
            role_arn: format!("arn:aws:iam::123456789012:role/tenant-{number}"),
            external_id: None,
            session_name: None,
        };
        TokenKey {
            identity: Identity::Role(Arc::new(role)),
            ..key(1)
        }
    }

    #[tokio::test]
    async fn number_of_kept_clients_is_bounded() {
        let clients = EcrClients::new(Path::new("none"));
        for number in 0..=MAX_KEPT.get() {
            clients
                .client(&key(number), &Endpoints::default())
                .await
                .unwrap();
        }
        let kept = clients.kept.lock().await;
        assert_eq!(kept.clients.len(), MAX_KEPT.get());
        assert!(kept.bases.len() <= MAX_KEPT.get());
    }

    #[tokio::test]
    async fn invented_regions_count_their_retries_together() {
        let clients = EcrClients::new(Path::new("none"));
        for (number, wanted) in [(1, None), (77, Some("unlisted")), (78, Some("unlisted"))] {
            let (client, _) = clients
                .client(&key(number), &Endpoints::default())
                .await
                .unwrap();
            let partition = client.config().retry_partition().map(ToString::to_string);
            assert_eq!(partition.as_deref(), wanted, "{number}");
        }
    }

    #[tokio::test]
    async fn roles_share_ambient_credentials_and_keep_no_client() {
        let clients = EcrClients::new(Path::new("none"));
        for number in 0..100 {
            clients
                .client(&of_role(number), &Endpoints::default())
                .await
                .unwrap();
        }
        let kept = clients.kept.lock().await;
        assert_eq!((kept.clients.len(), kept.bases.len()), (0, 1));
    }

    #[tokio::test]
    async fn credentials_are_dropped_once_for_all_calls() {
        let clients = EcrClients::new(Path::new("none"));
        let (_, used) = clients
            .client(&of_role(1), &Endpoints::default())
            .await
            .unwrap();
        clients.forget(Some(used), true).await;
        assert_eq!(clients.kept.lock().await.bases.len(), 0);
        let (_, next) = clients
            .client(&of_role(2), &Endpoints::default())
            .await
            .unwrap();
        assert_ne!(next, used);
        // A call that failed with the ones before.
        clients.forget(Some(used), true).await;
        assert_eq!(clients.kept.lock().await.bases.len(), 1);
        // A key that has never worked, a moment later.
        clients.forget(Some(next), false).await;
        assert_eq!(clients.kept.lock().await.bases.len(), 1);
        clients.forget(None, true).await;
        assert_eq!(clients.kept.lock().await.bases.len(), 0);
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
            let kept = clients.kept.lock().await;
            assert_eq!(kept.clients.len(), 1);
            let (_, client) = kept.clients.iter().next().unwrap();
            assert_eq!(client.endpoints, endpoints);
        }
    }
}
