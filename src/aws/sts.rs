//! Calls of STS: keys for a role, or for a web identity. The only place that calls it, so that region,
//! endpoint and patience are the same for the role of a rule, a profile and a web identity.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result, SharedCredentialsProvider, future,
};
use aws_sdk_ecr::config::IdentityCache;
use aws_sdk_ecr::config::retry::RetryPartition;
use aws_sdk_sts::Client;
use aws_sdk_sts::types::Credentials as StsCredentials;
use ecr_pull_secrets_core::aws::regions::is_listed;
use ecr_pull_secrets_core::aws::sts_place::StsPlace;
use ecr_pull_secrets_core::identity::AssumeRole;

use super::environment::{FileError, has_endpoint};

/// The name of the application and of sessions, which STS and CloudTrail show.
pub(super) const NAME: &str = "ecr-pull-secrets";

/// The deadline of a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The deadline of an answer. STS fetches the keys of an issuer that it has not seen for a while: that
/// has taken 13 s.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// STS at one place.
#[derive(Clone, Debug)]
pub(super) struct Sts {
    config: SdkConfig,
    url: Option<String>,
}

/// A token in a file, and the role that STS gives keys for.
#[derive(Clone, Debug)]
pub(super) struct WebIdentity {
    pub(super) role_arn: String,
    /// [`NAME`] where absent.
    pub(super) session_name: Option<String>,
    pub(super) token_file: PathBuf,
    /// The setting that names the file.
    pub(super) setting: &'static str,
}

impl Sts {
    /// Makes no call. `config` has region, connections and retries.
    pub(super) fn new(config: SdkConfig, place: &StsPlace) -> Self {
        let url = place.url.clone();
        Self { config, url }
    }

    fn client(&self, signer: Option<SharedCredentialsProvider>) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let mut config = aws_sdk_sts::config::Builder::from(&self.config)
            .timeout_config(timeouts)
            .identity_cache(IdentityCache::no_cache());
        config.set_credentials_provider(signer);
        let region = self.config.region();
        config.set_retry_partition(region.and_then(|region| retry_partition(region.as_ref())));
        if let Some(url) = &self.url {
            config = config.endpoint_url(url);
        }
        if self.url.is_some() || has_endpoint(&self.config, "STS") {
            config = config.use_fips(false).use_dual_stack(false);
        }
        Client::from_conf(config.build())
    }

    /// Keys of a role, for a caller that may assume it.
    pub(super) async fn assume(
        &self,
        role: &AssumeRole,
        signer: SharedCredentialsProvider,
    ) -> Result {
        let call = self.client(Some(signer)).assume_role();
        let session_name = role.session_name.as_deref().unwrap_or(NAME);
        let answer = call
            .role_arn(&role.role_arn)
            .set_external_id(role.external_id.clone())
            .role_session_name(session_name)
            .send()
            .await;
        let answer = answer.map_err(CredentialsError::provider_error)?;
        keys(answer.credentials, "role")
    }

    /// Keys for a web identity. The kubelet replaces the token, so its file is read for each call.
    pub(super) async fn exchange(&self, identity: &WebIdentity) -> Result {
        let token = fs::read_to_string(&identity.token_file).map_err(|source| {
            let name = identity.setting.to_owned();
            CredentialsError::invalid_configuration(FileError { name, source })
        })?;
        let call = self.client(None).assume_role_with_web_identity();
        let session_name = identity.session_name.as_deref().unwrap_or(NAME);
        let answer = call
            .role_arn(&identity.role_arn)
            .role_session_name(session_name)
            .web_identity_token(token.trim())
            .send()
            .await;
        let answer = answer.map_err(CredentialsError::provider_error)?;
        keys(answer.credentials, "web identity")
    }
}

/// What a client counts its retries in. The SDK never forgets the count of a region, so all regions
/// that may be inventions share one. `None`: that of the region.
pub(super) fn retry_partition(region: &str) -> Option<RetryPartition> {
    (!is_listed(region)).then(|| RetryPartition::new("unlisted"))
}

/// The keys in an answer.
fn keys(answer: Option<StsCredentials>, source: &'static str) -> Result {
    let unusable = CredentialsError::unhandled;
    let keys = answer.ok_or_else(|| unusable("the answer of STS has no keys"))?;
    let expiry = SystemTime::try_from(keys.expiration)
        .map_err(|_| unusable("the answer of STS has an expiry that no clock shows"))?;
    let session = Some(keys.session_token);
    let (id, secret) = (keys.access_key_id, keys.secret_access_key);
    Ok(Credentials::new(id, secret, session, Some(expiry), source))
}

/// The keys of a role of a rule.
#[derive(Debug)]
pub(super) struct RoleKeys {
    pub(super) sts: Sts,
    pub(super) role: AssumeRole,
    /// The replica's own keys, which sign the call.
    pub(super) signer: SharedCredentialsProvider,
}

impl ProvideCredentials for RoleKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.sts.assume(&self.role, self.signer.clone()))
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use ecr_pull_secrets_core::image::Endpoint;

    use super::*;

    #[test]
    fn invented_regions_of_sts_count_their_retries_together() {
        for (region, wanted) in [("us-east-1", None), ("us-east-77", Some("unlisted"))] {
            let config = SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static(region))
                .build();
            let place = StsPlace::of(None, region, Endpoint::Standard, None);
            let client = Sts::new(config, &place).client(None);
            let partition = client.config().retry_partition().map(ToString::to_string);
            assert_eq!(partition.as_deref(), wanted, "{region}");
        }
    }
}
