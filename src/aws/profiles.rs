//! The files of the AWS shared format, read before the SDK reads them.
//!
//! The SDK names the line of a mistake in a log line of its own alone, not in its error. And it signs
//! calls with the keys of a `source_profile` by itself, past every other check.

use std::error::Error;

use aws_config::profile::{ProfileFileLoadError, ProfileSet, load};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};
use ecr_pull_secrets_core::aws::value::{self, InvalidValue};

/// The keys of a profile that sign a call.
const KEYS: [&str; 3] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];
/// The longest chain of source profiles. The SDK has no limit, and refuses a loop.
const MAX_CHAIN: usize = 10;

/// A file that does not parse, or a profile whose keys cannot sign a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidProfile {
    /// File and line are in the innermost source.
    #[error("cannot read a shared file of AWS: {}", innermost(.0))]
    File(ProfileFileLoadError),
    #[error(transparent)]
    Key(#[from] InvalidValue),
}

/// The last error in a chain.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last
}

/// Checks the profile that is selected, and those it takes its keys from.
///
/// # Errors
///
/// [`InvalidProfile`] names the line, or the key and its profile.
pub(super) async fn check(files: &EnvConfigFiles) -> Result<(), InvalidProfile> {
    let profiles = load(&Fs::real(), &Env::real(), files, None).await;
    check_keys(&profiles.map_err(InvalidProfile::File)?)?;
    Ok(())
}

fn check_keys(profiles: &ProfileSet) -> Result<(), InvalidValue> {
    let mut next = Some(profiles.selected_profile());
    let mut is_source = false;
    for _ in 0..MAX_CHAIN {
        let Some(profile) = next.and_then(|name| profiles.get_profile(name)) else {
            break;
        };
        for key in KEYS {
            let Some(text) = profile.get(key) else {
                continue;
            };
            let name = format!("{key} of the profile {}", profile.name());
            value::key(&name, text)?;
            // The SDK trims nothing before it signs.
            if is_source {
                value::exact(&name, text)?;
            }
        }
        next = profile.get("source_profile");
        is_source = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_runtime::env_config::file::EnvConfigFileKind;

    use super::*;
    use crate::telemetry::chain::chain;

    async fn checked(text: &str) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        fs::write(&file, text).unwrap();
        let files = EnvConfigFiles::builder()
            .with_file(EnvConfigFileKind::Credentials, &file)
            .build();
        check(&files).await.map_err(|error| chain(&error))
    }

    #[tokio::test]
    async fn broken_line_is_named() {
        let text = "[default]\naws_access_key_id = AKIA\naws_secret_access_key s3cret\n";
        let error = checked(text).await.unwrap_err();
        // The name of the folder is random, and so removed.
        let named = "on line 3: Expected an '=' sign defining a property";
        let one_line = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(named), "{one_line}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[tokio::test]
    async fn keys_of_source_profile_are_checked() {
        let base = "[default]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = base\n[base]\n";
        for (keys, fault) in [
            (
                "aws_access_key_id = AKIA\naws_secret_access_key = s3cret\n",
                None,
            ),
            (
                "aws_access_key_id = AK\u{1}IA\n",
                Some("aws_access_key_id of the profile base holds a character"),
            ),
            (
                "aws_secret_access_key = 's3cret'\n",
                Some("aws_secret_access_key of the profile base holds a quote"),
            ),
            ("[unused]\naws_access_key_id = AK\u{1}IA\n", None),
        ] {
            let error = checked(&format!("{base}{keys}")).await.err();
            let is_named = match (&error, fault) {
                (Some(error), Some(fault)) => error.contains(fault) && !error.contains("s3cret"),
                (None, None) => true,
                _ => false,
            };
            assert!(is_named, "{keys}: {error:?}");
        }
        // Quotes around the selected profile's own keys are removed later.
        assert_eq!(
            checked("[default]\naws_access_key_id = \"AKIA\"\n").await,
            Ok(())
        );
        // A loop is the SDK's to refuse.
        assert_eq!(
            checked("[default]\nsource_profile = default\n").await,
            Ok(())
        );
    }
}
