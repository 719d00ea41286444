//! Ambient credentials: keys in a mounted Secret first, then keys in the environment, then the AWS
//! SDK's own chain.
//!
//! A mounted Secret is a directory with one file per key. `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY` are read in upper or in lower case, which users carry over from their
//! CronJobs. Without them, a file `credentials` in the AWS shared format is read. Every load reads
//! the files again, so that new keys need no restart: the SDK's chain reads its files once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ecr_pull_secrets_core::aws::value;
use ecr_pull_secrets_core::aws::variables::Use;
use jiff::Timestamp;

use super::environment::{check, variable};
use super::profiles;
use crate::clock;

/// The time after which keys from files are read again. They have no expiry of their own.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The provider of the process's own credentials.
#[derive(Debug)]
pub(crate) struct Ambient {
    directory: PathBuf,
    region: Region,
    /// Makes the calls for credentials.
    http: SharedHttpClient,
}

impl Ambient {
    /// Reads no file yet. `region` is that of STS.
    pub(super) fn new(directory: &Path, region: Region, http: SharedHttpClient) -> Self {
        Self {
            directory: directory.to_owned(),
            region,
            http,
        }
    }

    async fn load(&self) -> Result {
        if let Some(credentials) = mounted(&self.directory, clock::now())? {
            return Ok(credentials);
        }
        let config = ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_http_client(self.http.clone());
        let file = self.directory.join("credentials");
        if file.exists() {
            return shared(&file, &config, clock::now()).await;
        }
        if let Some(credentials) = of_environment(variable)? {
            return Ok(credentials);
        }
        check(Use::Chain).map_err(invalid)?;
        let files = EnvConfigFiles::default();
        profiles::check(&files).await.map_err(invalid)?;
        let chain = DefaultCredentialsChain::builder()
            .configure(config)
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
}

impl ProvideCredentials for Ambient {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// The keys in a directory; `None` without their files.
fn mounted(
    directory: &Path,
    now: Timestamp,
) -> std::result::Result<Option<Credentials>, CredentialsError> {
    let id = file(directory, "AWS_ACCESS_KEY_ID")?;
    let secret = file(directory, "AWS_SECRET_ACCESS_KEY")?;
    let session = file(directory, "AWS_SESSION_TOKEN")?;
    let pair = complete(id, secret)?;
    Ok(pair.map(|(id, secret)| {
        let expiry = reload_at(now).into();
        Credentials::new(id, secret, session, Some(expiry), "mounted Secret")
    }))
}

/// The keys in the environment, as the SDK's chain would take them first; `None` without both.
fn of_environment(
    variable: impl Fn(&str) -> Option<String>,
) -> std::result::Result<Option<Credentials>, CredentialsError> {
    let present = |name| variable(name).filter(|value| !value.trim().is_empty());
    let secret = ["AWS_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"]
        .into_iter()
        .find_map(|name| Some((name, present(name)?)));
    let (Some(id), Some((secret_name, secret))) = (present("AWS_ACCESS_KEY_ID"), secret) else {
        return Ok(None);
    };
    let key = |name: &str, text: &str| {
        value::key(&format!("the environment variable {name}"), text).map_err(invalid)
    };
    let session = present("AWS_SESSION_TOKEN");
    let session = session
        .map(|token| key("AWS_SESSION_TOKEN", &token))
        .transpose()?;
    Ok(Some(Credentials::new(
        key("AWS_ACCESS_KEY_ID", &id)?,
        key(secret_name, &secret)?,
        session,
        None,
        "environment",
    )))
}

/// Both halves of a key, or neither.
fn complete(
    id: Option<String>,
    secret: Option<String>,
) -> std::result::Result<Option<(String, String)>, CredentialsError> {
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some((id, secret))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(invalid(
            "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY",
        )),
        (None, Some(_)) => Err(invalid(
            "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID",
        )),
    }
}

/// The credentials of `AWS_PROFILE` or the default profile in a file of the AWS shared format.
async fn shared(file: &Path, config: &ProviderConfig, now: Timestamp) -> Result {
    let files = EnvConfigFiles::builder()
        .include_default_config_file(true)
        .with_file(EnvConfigFileKind::Credentials, file)
        .build();
    profiles::check(&files).await.map_err(invalid)?;
    let provider = ProfileFileCredentialsProvider::builder()
        .configure(config)
        .profile_files(files);
    let credentials = provider.build().provide_credentials().await?;
    if credentials.expiry().is_some() {
        return Ok(credentials);
    }
    Ok(Credentials::new(
        credentials.access_key_id(),
        credentials.secret_access_key(),
        credentials.session_token().map(str::to_owned),
        Some(reload_at(now).into()),
        "mounted file",
    ))
}

fn reload_at(now: Timestamp) -> Timestamp {
    now.checked_add(RELOAD_INTERVAL).unwrap_or(Timestamp::MAX)
}

/// The value in a file of a mounted Secret.
fn file(directory: &Path, name: &str) -> std::result::Result<Option<String>, CredentialsError> {
    for name in [name, &name.to_ascii_lowercase()] {
        match fs::read_to_string(directory.join(name)) {
            Ok(text) => return value::key(name, &text).map(Some).map_err(invalid),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(invalid(format!("cannot read {name}: {}", error.kind())));
            }
        }
    }
    Ok(None)
}

fn invalid(
    reason: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
) -> CredentialsError {
    CredentialsError::invalid_configuration(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> std::result::Result<Option<Credentials>, CredentialsError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        mounted(directory.path(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn keys_are_read_in_either_case_and_trimmed() {
        for (id, secret) in [
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("aws_access_key_id", "aws_secret_access_key"),
        ] {
            let keys = read(&[(id, "AKIA\n"), (secret, " s3cret\n")])
                .unwrap()
                .unwrap();
            assert_eq!(
                (keys.access_key_id(), keys.secret_access_key()),
                ("AKIA", "s3cret")
            );
            assert_eq!(keys.session_token(), None);
            assert!(keys.expiry().is_some());
        }
        let session = ("AWS_SESSION_TOKEN", "session");
        let keys = read(&[
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "B"),
            session,
        ]);
        assert_eq!(keys.unwrap().unwrap().session_token(), Some("session"));
    }

    #[tokio::test]
    async fn shared_file_is_read_again_at_each_load() {
        let directory = tempfile::tempdir().unwrap();
        let http = SharedHttpClient::new(super::super::environment::http_client());
        let ambient = Ambient::new(directory.path(), Region::from_static("us-east-1"), http);
        for id in ["AKIA1", "AKIA2"] {
            let text = format!("[default]\naws_access_key_id={id}\naws_secret_access_key=s3cret\n");
            fs::write(directory.path().join("credentials"), text).unwrap();
            let loaded = ambient.provide_credentials().await.unwrap();
            assert_eq!(loaded.access_key_id(), id);
            assert!(loaded.expiry().is_some());
        }
    }

    #[test]
    fn directory_without_keys_gives_none() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("credentials", "[default]")]).unwrap().is_none());
        assert!(
            mounted(Path::new("/no/such/directory"), Timestamp::UNIX_EPOCH)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn bad_keys_are_refused_without_showing_them() {
        for files in [
            vec![("AWS_ACCESS_KEY_ID", "AKIA")],
            vec![("aws_secret_access_key", "s3cret")],
            vec![
                ("AWS_ACCESS_KEY_ID", "AK IA"),
                ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ],
            vec![
                ("AWS_ACCESS_KEY_ID", "AKIA"),
                ("AWS_SECRET_ACCESS_KEY", "\n"),
            ],
        ] {
            let error = read(&files).unwrap_err();
            let text = format!("{error:?}");
            assert!(
                text.contains("ACCESS_KEY") || text.contains("access_key"),
                "{text}"
            );
            assert!(
                !text.contains("s3cret") && !text.contains("AK IA"),
                "{text}"
            );
        }
    }

    #[test]
    fn keys_of_the_environment_are_checked() {
        let of = |pairs: &[(&str, &str)]| {
            of_environment(|name| {
                let pair = pairs.iter().find(|(other, _)| *other == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        let keys = of(&[
            ("AWS_ACCESS_KEY_ID", "AKIA\n"),
            ("AWS_SECRET_ACCESS_KEY", "'s3cret'"),
            ("AWS_SESSION_TOKEN", " "),
        ]);
        let keys = keys.unwrap().unwrap();
        assert_eq!(
            (
                keys.access_key_id(),
                keys.secret_access_key(),
                keys.session_token()
            ),
            ("AKIA", "s3cret", None)
        );
        assert!(of(&[("AWS_ACCESS_KEY_ID", "AKIA")]).unwrap().is_none());
        let error = of(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("SECRET_ACCESS_KEY", "s3\ncret"),
        ]);
        let text = crate::telemetry::chain::chain(&error.unwrap_err());
        assert!(
            text.contains("the environment variable SECRET_ACCESS_KEY holds"),
            "{text}"
        );
        assert!(!text.contains("cret:"), "{text}");
    }
}
