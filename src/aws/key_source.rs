//! Credentials that the process holds. The ambient ones: a mounted Secret first, then keys in the
//! environment, then what the AWS SDK's chain knows: profiles, web identity, container credentials,
//! instance metadata. And further ones that a rule names: a mounted Secret, and nothing else.
//!
//! A mounted Secret has keys (see [`super::keys`]), or a file `credentials` in the AWS shared format.
//! Every load reads the files again, so that new keys need no restart: the SDK's chain reads its files
//! once. Profiles and web identities are ours, because the SDK lets nothing choose region and endpoint
//! of STS for them ([`super::sts`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result, SharedCredentialsProvider, future,
};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ecr_pull_secrets_core::aws::variables::Use;
use tokio::time::sleep;

use super::checked::CheckedKeys;
use super::environment::{check, has_program, variable};
use super::keys::{complete, invalid, mounted, of_environment, reload_at};
use super::profiles::{self, FirstKeys, InvalidProfile, PROCESS, ProfileChain};
use super::sts::{Sts, WebIdentity};
use crate::clock;

/// How often a mounted file is read until it is whole, and the time between.
const MAX_READS: usize = 6;
const REREAD_INTERVAL: Duration = Duration::from_millis(200);

/// Where credentials come from.
#[derive(Debug)]
pub(super) enum KeySource {
    /// The ambient ones: the directory of a mounted Secret, and where it has none, the whole chain.
    Chain(PathBuf),
    /// The directory of a mounted Secret alone: with the keys of another identity, calls would fail for a
    /// reason that names neither.
    Mounted(PathBuf),
}

/// The provider of credentials that the process holds.
#[derive(Debug)]
pub(super) struct KeyProvider {
    source: KeySource,
    region: Region,
    /// Makes the calls for credentials, but those of STS.
    http: SharedHttpClient,
    sts: Sts,
}

impl KeyProvider {
    /// Reads no file yet. `region` is that of STS.
    pub(super) fn new(source: KeySource, region: Region, http: SharedHttpClient, sts: Sts) -> Self {
        Self {
            source,
            region,
            http,
            sts,
        }
    }

    async fn load(&self) -> Result {
        let (KeySource::Chain(directory) | KeySource::Mounted(directory)) = &self.source;
        if let Some(credentials) = mounted(directory, clock::now())? {
            return Ok(credentials);
        }
        let file = directory.join("credentials");
        if file.exists() {
            return self.shared(&file).await;
        }
        match &self.source {
            KeySource::Chain(_) => self.chain().await,
            KeySource::Mounted(directory) => {
                let nothing = format!("no keys are mounted at {}", directory.display());
                Err(CredentialsError::not_loaded(nothing))
            }
        }
    }

    /// The first credentials beyond the mounted Secret.
    async fn chain(&self) -> Result {
        if let Some(credentials) = of_environment(variable)? {
            return Ok(credentials);
        }
        check(Use::Chain).map_err(invalid)?;
        let files = EnvConfigFiles::default();
        if let Some(chain) = profiles::selected(&files).await.map_err(invalid)? {
            return self.follow(chain, files).await;
        }
        if let Some(identity) = web_identity() {
            return self.sts.exchange(&identity).await;
        }
        let chain = DefaultCredentialsChain::builder()
            .configure(self.config())
            .region(self.region.clone());
        match chain.build().await.provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(nothing)) => {
                // The chain passes over a key without its other half.
                complete(
                    variable("AWS_ACCESS_KEY_ID"),
                    variable("AWS_SECRET_ACCESS_KEY"),
                )?;
                Err(CredentialsError::CredentialsNotLoaded(nothing))
            }
            loaded => loaded,
        }
    }

    fn config(&self) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_http_client(self.http.clone())
    }

    /// The credentials of `AWS_PROFILE` or the default profile in a file of the AWS shared format.
    async fn shared(&self, file: &Path) -> Result {
        let (files, chain) = whole(file).await.map_err(invalid)?;
        let nothing = || invalid("the mounted file has no credentials in the profile that is used");
        let credentials = self.follow(chain.ok_or_else(nothing)?, files).await?;
        if credentials.expiry().is_some() {
            return Ok(credentials);
        }
        Ok(Credentials::new(
            credentials.access_key_id(),
            credentials.secret_access_key(),
            credentials.session_token().map(str::to_owned),
            Some(reload_at(clock::now()).into()),
            "mounted file",
        ))
    }

    /// The keys that a profile leads to.
    async fn follow(&self, chain: ProfileChain, files: EnvConfigFiles) -> Result {
        let mut keys = self.first(chain.first, files).await?;
        for role in chain.roles {
            let signer = SharedCredentialsProvider::new(CheckedKeys(keys));
            keys = self.sts.assume(&role, signer).await?;
        }
        Ok(keys)
    }

    async fn first(&self, first: FirstKeys, files: EnvConfigFiles) -> Result {
        match first {
            FirstKeys::Held(keys) => Ok(keys),
            FirstKeys::WebIdentity(identity) => self.sts.exchange(&identity).await,
            FirstKeys::Source(source) => match source.as_str() {
                "Environment" => {
                    let nothing = || invalid("credential_source is Environment, which has no keys");
                    of_environment(variable)?.ok_or_else(nothing)
                }
                "EcsContainer" => {
                    let provider = EcsCredentialsProvider::builder().configure(&self.config());
                    provider.build().provide_credentials().await
                }
                "Ec2InstanceMetadata" => {
                    let provider = ImdsCredentialsProvider::builder().configure(&self.config());
                    provider.build().provide_credentials().await
                }
                _ => Err(invalid(
                    "credential_source is none of Environment, EcsContainer and Ec2InstanceMetadata",
                )),
            },
            FirstKeys::Other(profile) => {
                // The SDK runs the command with a shell, which our image does not have.
                if !has_program("sh") {
                    return Err(invalid(format!(
                        "the profile {profile} needs {PROCESS} or a login, which work on no replica: \
                         use keys, a role or a web identity"
                    )));
                }
                let provider = ProfileFileCredentialsProvider::builder()
                    .configure(&self.config())
                    .profile_files(files)
                    .profile_name(profile);
                provider.build().provide_credentials().await
            }
        }
    }
}

impl ProvideCredentials for KeyProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// The web identity that the environment names.
fn web_identity() -> Option<WebIdentity> {
    const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    Some(WebIdentity {
        token_file: variable(TOKEN_FILE)?.into(),
        role_arn: variable("AWS_ROLE_ARN")?,
        session_name: variable("AWS_ROLE_SESSION_NAME"),
        setting: TOKEN_FILE,
    })
}

/// A file that gives no credentials.
#[derive(Debug, thiserror::Error)]
enum InvalidFile {
    #[error("cannot read the mounted file credentials: {}", .0.kind())]
    Unreadable(io::Error),
    #[error(transparent)]
    Profile(#[from] InvalidProfile),
}

/// Reads a file of the AWS shared format, and waits for a writer that is in the middle of it: a helper
/// beside the replica truncates it, then writes. A key that is cut off parses as well.
async fn whole(
    file: &Path,
) -> std::result::Result<(EnvConfigFiles, Option<ProfileChain>), InvalidFile> {
    let mut attempt = 0;
    loop {
        let is_written = is_written(file).map_err(InvalidFile::Unreadable)?;
        let text = fs::read_to_string(file).map_err(InvalidFile::Unreadable)?;
        let (files, chain) = parsed(&text).await;
        attempt += 1;
        let is_good = is_written && matches!(chain, Ok(Some(_)));
        if is_good || attempt == MAX_READS {
            return Ok((files, chain?));
        }
        sleep(REREAD_INTERVAL).await;
    }
}

/// Whether the last write is a while ago.
fn is_written(file: &Path) -> io::Result<bool> {
    let written_at = fs::metadata(file)?.modified()?;
    let age = SystemTime::from(clock::now()).duration_since(written_at);
    // A time in the future is another clock's.
    Ok(age.is_err() || age.is_ok_and(|age| age >= REREAD_INTERVAL))
}

async fn parsed(
    text: &str,
) -> (
    EnvConfigFiles,
    std::result::Result<Option<ProfileChain>, InvalidProfile>,
) {
    let files = EnvConfigFiles::builder()
        .include_default_config_file(true)
        .with_contents(EnvConfigFileKind::Credentials, text)
        .build();
    let chain = profiles::selected(&files).await;
    (files, chain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ecr_pull_secrets_core::aws::sts_place::StsPlace;
    use ecr_pull_secrets_core::image::Endpoint;

    use super::*;
    use crate::telemetry::chain::chain;

    async fn loaded(directory: &Path) -> Result {
        let http = SharedHttpClient::new(super::super::environment::http_client());
        let region = Region::from_static("us-east-1");
        let config = aws_config::SdkConfig::builder().build();
        let place = StsPlace::of(None, "us-east-1", Endpoint::Standard, None);
        let source = KeySource::Chain(directory.to_owned());
        let provider = KeyProvider::new(source, region, http, Sts::new(config, &place));
        provider.provide_credentials().await
    }

    #[tokio::test]
    async fn shared_file_is_read_again_at_each_load() {
        let directory = tempfile::tempdir().unwrap();
        for id in ["AKIA1", "AKIA2"] {
            let text = format!("[default]\naws_access_key_id={id}\naws_secret_access_key=s3cret\n");
            fs::write(directory.path().join("credentials"), text).unwrap();
            let loaded = loaded(directory.path()).await.unwrap();
            assert_eq!(loaded.access_key_id(), id);
            assert!(loaded.expiry().is_some());
        }
    }

    /// A helper writes the file piece by piece; what is there may parse.
    #[tokio::test]
    async fn half_written_file_is_read_when_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let pieces = [
            "[default]\naws_access",
            "_key_id=AKIA\naws_secret_access_key=s3",
            "cret\n",
        ];
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(pieces[0].as_bytes()).unwrap();
        let writing = async {
            for piece in &pieces[1..] {
                sleep(REREAD_INTERVAL / 2).await;
                file.write_all(piece.as_bytes()).unwrap();
            }
        };
        let (loaded, ()) = tokio::join!(loaded(directory.path()), writing);
        assert_eq!(loaded.unwrap().secret_access_key(), "s3cret");
    }

    #[tokio::test]
    async fn file_without_keys_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let other = "[other]\naws_access_key_id=AKIA\naws_secret_access_key=s3cret\n";
        for text in ["[other]\n", other, &format!("[default]\n\n{other}")] {
            fs::write(directory.path().join("credentials"), text).unwrap();
            let error = loaded(directory.path()).await.unwrap_err();
            assert!(chain(&error).contains("the mounted file has no credentials"));
        }
    }
}
