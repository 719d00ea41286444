//! The files of the AWS shared format: which keys a profile starts from, and the roles that it assumes
//! with them.
//!
//! The SDK does this too, but it signs the calls of STS with whatever a file holds, past every check of
//! ours, and takes neither region nor endpoint from us. It names the line of a mistake in a log line of
//! its own alone.

use std::error::Error;

use aws_config::profile::{Profile, ProfileFileLoadError, ProfileSet, load};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};
use ecr_pull_secrets_core::aws::value::{self, InvalidValue};
use ecr_pull_secrets_core::identity::AssumeRole;

use super::sts::WebIdentity;

/// A file that does not parse, or a profile that gives no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidProfile {
    /// File and line are in the innermost source.
    #[error("cannot read a shared file of AWS: {}", innermost(.0))]
    File(ProfileFileLoadError),
    #[error(transparent)]
    Key(#[from] InvalidValue),
    #[error("the profile {0} is named and not defined")]
    Missing(String),
    #[error("the profile {0} is its own source")]
    Loop(String),
    #[error(
        "the profile {0} has a role_arn, but no source_profile, credential_source or web_identity_token_file"
    )]
    NoSource(String),
    #[error("the profile {0} has only one of aws_access_key_id and aws_secret_access_key")]
    HalfKey(String),
    #[error("the profile {0} is a source, and has no credentials")]
    Empty(String),
}

/// The last error in a chain.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last
}

/// Where the first keys come from.
#[derive(Debug)]
pub(super) enum FirstKeys {
    /// Keys in the file.
    Held(Credentials),
    WebIdentity(WebIdentity),
    /// `credential_source`: `Environment`, `EcsContainer` or `Ec2InstanceMetadata`.
    Source(String),
    /// Something else in the profile of this name, which the SDK knows.
    Other(String),
}

/// What a profile asks for.
#[derive(Debug)]
pub(super) struct ProfileChain {
    pub(super) first: FirstKeys,
    /// Roles to assume with these keys, one after the other.
    pub(super) roles: Vec<AssumeRole>,
}

/// Reads the files, and the profile that is selected there. `None` when they have no such profile, or
/// one without credentials.
///
/// # Errors
///
/// [`InvalidProfile`] names the line, or the profile.
pub(super) async fn selected(
    files: &EnvConfigFiles,
) -> Result<Option<ProfileChain>, InvalidProfile> {
    let profiles = load(&Fs::real(), &Env::real(), files, None).await;
    chain_of(&profiles.map_err(InvalidProfile::File)?)
}

fn chain_of(profiles: &ProfileSet) -> Result<Option<ProfileChain>, InvalidProfile> {
    let Some(mut profile) = profiles.get_profile(profiles.selected_profile()) else {
        return Ok(None);
    };
    let (mut roles, mut seen) = (Vec::new(), Vec::new());
    let first = loop {
        let name = profile.name();
        if seen.contains(&name) {
            return Err(InvalidProfile::Loop(name.to_owned()));
        }
        seen.push(name);
        // A source with keys is the end, whatever else it says.
        let held = if seen.len() > 1 { held(profile)? } else { None };
        if let Some(held) = held {
            break Some(FirstKeys::Held(held));
        }
        let role = profile.get("role_arn");
        let is_web_identity = profile.get("web_identity_token_file").is_some();
        let Some(role_arn) = role.filter(|_| !is_web_identity) else {
            break first_keys(profile)?;
        };
        roles.push(AssumeRole {
            role_arn: role_arn.to_owned(),
            external_id: profile.get("external_id").map(str::to_owned),
            session_name: profile.get("role_session_name").map(str::to_owned),
        });
        match profile.get("source_profile") {
            Some(source) if source == name => break first_keys(profile)?,
            Some(source) => {
                let missing = || InvalidProfile::Missing(source.to_owned());
                profile = profiles.get_profile(source).ok_or_else(missing)?;
            }
            None if profile.get("credential_source").is_some() => break first_keys(profile)?,
            None => return Err(InvalidProfile::NoSource(name.to_owned())),
        }
    };
    roles.reverse();
    match first {
        Some(first) => Ok(Some(ProfileChain { first, roles })),
        None if roles.is_empty() => Ok(None),
        None => Err(InvalidProfile::Empty(profile.name().to_owned())),
    }
}

/// The keys of a profile that assumes no role for them. `None` when it has none.
fn first_keys(profile: &Profile) -> Result<Option<FirstKeys>, InvalidProfile> {
    if let Some(source) = profile.get("credential_source") {
        return Ok(Some(FirstKeys::Source(source.to_owned())));
    }
    let web_identity = profile
        .get("role_arn")
        .zip(profile.get("web_identity_token_file"));
    if let Some((role_arn, token_file)) = web_identity {
        return Ok(Some(FirstKeys::WebIdentity(WebIdentity {
            role_arn: role_arn.to_owned(),
            session_name: profile.get("role_session_name").map(str::to_owned),
            token_file: token_file.into(),
            setting: "web_identity_token_file",
        })));
    }
    let others = ["sso_account_id", "sso_session", "login_session", PROCESS];
    if others.into_iter().any(|key| profile.get(key).is_some()) {
        return Ok(Some(FirstKeys::Other(profile.name().to_owned())));
    }
    Ok(held(profile)?.map(FirstKeys::Held))
}

/// The setting with a command that prints keys.
pub(super) const PROCESS: &str = "credential_process";

/// The keys that a profile holds.
fn held(profile: &Profile) -> Result<Option<Credentials>, InvalidProfile> {
    let key = |name: &str| {
        let text = profile.get(name);
        let place = || format!("{name} of the profile {}", profile.name());
        text.map(|text| value::key(&place(), text)).transpose()
    };
    let session = profile.get("aws_session_token");
    let has_session = session.is_some_and(|token| !token.trim().is_empty());
    let session = if has_session {
        key("aws_session_token")?
    } else {
        None
    };
    match (key("aws_access_key_id")?, key("aws_secret_access_key")?) {
        (Some(id), Some(secret)) => {
            let keys = Credentials::new(id, secret, session, None, "profile");
            Ok(Some(keys))
        }
        (None, None) => Ok(None),
        _ => Err(InvalidProfile::HalfKey(profile.name().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use aws_runtime::env_config::file::EnvConfigFileKind;

    use super::*;
    use crate::telemetry::chain::chain;

    async fn chain_in(text: &str) -> Result<Option<ProfileChain>, String> {
        let files = EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Credentials, text)
            .build();
        selected(&files).await.map_err(|error| chain(&error))
    }

    #[tokio::test]
    async fn broken_line_is_named() {
        let text = "[default]\naws_access_key_id = AKIA\naws_secret_access_key s3cret\n";
        let error = chain_in(text).await.unwrap_err();
        let named = "on line 3: Expected an '=' sign defining a property";
        let one_line = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(named), "{one_line}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[tokio::test]
    async fn profile_leads_to_its_first_keys_and_roles() {
        let role = |name: &str| format!("role_arn = arn:aws:iam::123456789012:role/{name}\n");
        let keys = "aws_access_key_id = \"AKIA\"\naws_secret_access_key = s3cret\n";
        let (a, b) = (role("a"), role("b"));
        for (text, first, roles) in [
            (format!("[default]\n{keys}"), "Held", ""),
            (
                format!("[default]\n{a}source_profile = base\n[base]\n{keys}"),
                "Held",
                "a",
            ),
            (
                format!(
                    "[default]\n{a}source_profile = b\n[b]\n{b}source_profile = base\n[base]\n{keys}"
                ),
                "Held",
                "b a",
            ),
            (
                format!("[default]\n{a}source_profile = default\n{keys}"),
                "Held",
                "a",
            ),
            (
                format!("[default]\n{a}credential_source = EcsContainer\n"),
                "Source",
                "a",
            ),
            (
                format!("[default]\n{a}web_identity_token_file = /token\n"),
                "WebIdentity",
                "",
            ),
            (
                format!("[default]\n{a}source_profile = base\n[base]\n{PROCESS} = keys\n"),
                "Other",
                "a",
            ),
        ] {
            let chain = chain_in(&text).await.unwrap().unwrap();
            assert!(format!("{:?}", chain.first).starts_with(first), "{text}");
            let names = chain
                .roles
                .iter()
                .map(|role| role.role_arn.rsplit('/').next());
            let names: Vec<&str> = names.flatten().collect();
            assert_eq!(names.join(" "), roles, "{text}");
        }
        for text in ["", "[other]\n", "[default]\nregion = eu-west-1\n"] {
            assert!(chain_in(text).await.unwrap().is_none(), "{text}");
        }
    }

    #[tokio::test]
    async fn profile_without_usable_keys_is_named() {
        let base = "[default]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = base\n[base]\n";
        for (more, fault) in [
            (
                "aws_access_key_id = AK\u{1}IA\n",
                "aws_access_key_id of the profile base holds a character",
            ),
            (
                "aws_access_key_id = AKIA\naws_secret_access_key = s3 cret\n",
                "aws_secret_access_key of the profile base holds white space",
            ),
            (
                "aws_access_key_id = AKIA\n",
                "the profile base has only one of",
            ),
            ("region = eu-west-1\n", "the profile base is a source"),
            (
                "role_arn = arn:aws:iam::123456789012:role/b\n",
                "the profile base has a role_arn, but no",
            ),
            (
                "role_arn = arn:aws:iam::123456789012:role/b\nsource_profile = default\n",
                "the profile default is its own source",
            ),
            (
                "role_arn = arn:aws:iam::123456789012:role/b\nsource_profile = none\n",
                "the profile none is named and not defined",
            ),
        ] {
            let error = chain_in(&format!("{base}{more}")).await.unwrap_err();
            assert!(error.contains(fault), "{more}: {error}");
            assert!(
                !error.contains("cret\n") && !error.contains("s3 cret"),
                "{error}"
            );
        }
        // What the selected profile does not use is not checked.
        let unused = format!(
            "{base}aws_access_key_id = AKIA\naws_secret_access_key = s3cret\n[unused]\naws_access_key_id = AK\u{1}IA\n"
        );
        assert!(chain_in(&unused).await.is_ok());
    }
}
