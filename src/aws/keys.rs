//! Ambient credentials: keys in a mounted Secret first, then the AWS SDK's own chain.
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
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use jiff::Timestamp;

use crate::clock;

/// The time after which keys from files are read again. They have no expiry of their own.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The provider of the process's own credentials.
#[derive(Debug)]
pub(crate) struct Ambient {
    directory: PathBuf,
    region: Region,
}

impl Ambient {
    /// Reads no file yet. `region` is that of STS.
    pub(crate) fn new(directory: &Path, region: Region) -> Self {
        Self {
            directory: directory.to_owned(),
            region,
        }
    }

    async fn load(&self) -> Result {
        if let Some(credentials) = keys(&self.directory, clock::now())? {
            return Ok(credentials);
        }
        let file = self.directory.join("credentials");
        if file.exists() {
            return shared(&file, clock::now()).await;
        }
        let chain = DefaultCredentialsChain::builder().region(self.region.clone());
        chain.build().await.provide_credentials().await
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
fn keys(
    directory: &Path,
    now: Timestamp,
) -> std::result::Result<Option<Credentials>, CredentialsError> {
    let id = key(directory, "AWS_ACCESS_KEY_ID")?;
    let secret = key(directory, "AWS_SECRET_ACCESS_KEY")?;
    let session = key(directory, "AWS_SESSION_TOKEN")?;
    let (id, secret) = match (id, secret) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(invalid(
                "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY",
            ));
        }
        (None, Some(_)) => {
            return Err(invalid(
                "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID",
            ));
        }
    };
    Ok(Some(Credentials::new(
        id,
        secret,
        session,
        Some(reload_at(now).into()),
        "mounted Secret",
    )))
}

/// The credentials of `AWS_PROFILE` or the default profile in a file of the AWS shared format.
async fn shared(file: &Path, now: Timestamp) -> Result {
    let files = EnvConfigFiles::builder()
        .include_default_config_file(true)
        .with_file(EnvConfigFileKind::Credentials, file)
        .build();
    let provider = ProfileFileCredentialsProvider::builder().profile_files(files);
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

fn key(directory: &Path, name: &str) -> std::result::Result<Option<String>, CredentialsError> {
    for name in [name, &name.to_ascii_lowercase()] {
        match fs::read_to_string(directory.join(name)) {
            // `echo KEY | base64` adds a newline.
            Ok(text) => return checked(name, text.trim()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(invalid(&format!("cannot read {name}: {}", error.kind()))),
        }
    }
    Ok(None)
}

fn checked(name: &str, text: &str) -> std::result::Result<String, CredentialsError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(&format!(
            "{name} is empty or holds an invalid character"
        )));
    }
    Ok(text.to_owned())
}

fn invalid(reason: &str) -> CredentialsError {
    CredentialsError::invalid_configuration(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> std::result::Result<Option<Credentials>, CredentialsError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        keys(directory.path(), Timestamp::UNIX_EPOCH)
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
        let ambient = Ambient::new(directory.path(), Region::from_static("us-east-1"));
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
            keys(Path::new("/no/such/directory"), Timestamp::UNIX_EPOCH)
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
}
