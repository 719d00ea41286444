//! Keys as users write them: in a mounted Secret, or in the environment.
//!
//! A mounted Secret is a directory with one file per key. `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY` are read in upper or in lower case, which users carry over from their
//! CronJobs. A session token that is empty is none.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use ecr_pull_secrets_core::aws::value;
use jiff::Timestamp;

/// The time after which keys from files are read again. They have no expiry of their own.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The keys in a directory; `None` without their files.
pub(super) fn mounted(
    directory: &Path,
    now: Timestamp,
) -> std::result::Result<Option<Credentials>, CredentialsError> {
    let id = file(directory, "AWS_ACCESS_KEY_ID")?;
    let secret = file(directory, "AWS_SECRET_ACCESS_KEY")?;
    let session = session(directory)?;
    let pair = complete(id, secret)?;
    Ok(pair.map(|(id, secret)| {
        let expiry = reload_at(now).into();
        Credentials::new(id, secret, session, Some(expiry), "mounted Secret")
    }))
}

/// The keys in the environment, as the SDK's chain would take them first; `None` without both.
pub(super) fn of_environment(
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
pub(super) fn complete(
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

pub(super) fn reload_at(now: Timestamp) -> Timestamp {
    now.checked_add(RELOAD_INTERVAL).unwrap_or(Timestamp::MAX)
}

/// The session token of a mounted Secret. Keys of a user have none, and a template leaves it empty.
fn session(directory: &Path) -> std::result::Result<Option<String>, CredentialsError> {
    let text = text(directory, "AWS_SESSION_TOKEN")?;
    let given = text.filter(|(_, text)| !text.trim().is_empty());
    given
        .map(|(name, text)| value::key(&name, &text).map_err(invalid))
        .transpose()
}

/// The value in a file of a mounted Secret.
fn file(directory: &Path, name: &str) -> std::result::Result<Option<String>, CredentialsError> {
    let text = text(directory, name)?;
    text.map(|(name, text)| value::key(&name, &text).map_err(invalid))
        .transpose()
}

/// The name and the text of a file of a mounted Secret.
fn text(
    directory: &Path,
    name: &str,
) -> std::result::Result<Option<(String, String)>, CredentialsError> {
    for name in [name.to_owned(), name.to_ascii_lowercase()] {
        match fs::read_to_string(directory.join(&name)) {
            Ok(text) => return Ok(Some((name, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(invalid(format!("cannot read {name}: {}", error.kind())));
            }
        }
    }
    Ok(None)
}

pub(super) fn invalid(
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

    #[test]
    fn empty_session_token_file_is_none() {
        for session in ["", "\n"] {
            let keys = read(&[
                ("AWS_ACCESS_KEY_ID", "A"),
                ("AWS_SECRET_ACCESS_KEY", "B"),
                ("AWS_SESSION_TOKEN", session),
            ]);
            assert_eq!(keys.unwrap().unwrap().session_token(), None);
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
            vec![
                ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID=AK IA"),
                ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ],
            vec![
                ("AWS_ACCESS_KEY_ID", "AKIA"),
                // s3crets3crets3cret, encoded one time more than a Secret does.
                ("AWS_SECRET_ACCESS_KEY", "czNjcmV0czNjcmV0czNjcmV0"),
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
