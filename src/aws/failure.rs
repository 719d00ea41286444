//! A call of AWS that brought no token, and its [`Cause`]: the one place that reads the SDK's errors.
//!
//! A detail has the words of AWS only where AWS refused, as code and message. Every other text is
//! ours, or that of the innermost errors. All of it passes [`scrub::detail`].

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use ecr_pull_secrets_core::aws::codes::{self, RefusedCall};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::scrub;

use super::environment::{FileError, InvalidSetting, variable};
use super::http::Seen;
use crate::telemetry::chain::chain;

/// Why AWS gave no token. The detail is for the log: it names codes and principals, never a secret
/// value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub(crate) struct MintFailure {
    pub(crate) cause: Cause,
    pub(crate) detail: String,
}

/// The variable with a file that the SDK reads at each load. Its error does not name the file.
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

impl MintFailure {
    fn new(cause: Cause, detail: &str) -> Self {
        let detail = scrub::detail(detail);
        Self { cause, detail }
    }

    /// An answer of AWS without a usable token.
    pub(super) fn unusable(detail: &str) -> Self {
        Self::new(Cause::AwsAnswerUnusable, detail)
    }

    /// A library that panicked.
    pub(super) fn panicked() -> Self {
        let detail = "the log line `a task panicked` before this one names the place";
        Self::new(Cause::MintPanicked, detail)
    }

    pub(super) fn of_setting(invalid: &InvalidSetting) -> Self {
        Self::new(Cause::AwsSettingsInvalid, &invalid.to_string())
    }

    /// A call whose time is over.
    pub(super) fn timed_out(seen: &Seen) -> Self {
        let host = seen.host.as_deref().unwrap_or("AWS");
        Self::new(Cause::AwsTimeout, &format!("no answer from {host} in time"))
    }

    /// Reads an error of a call of ECR, with what the HTTP client saw of it.
    pub(super) fn of_call<E>(error: &SdkError<E>, seen: &Seen) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let host = seen.host.as_deref().unwrap_or("AWS");
        if let Some(foreign) = &seen.foreign {
            return Self::unusable(&foreign.to_string());
        }
        match error {
            SdkError::TimeoutError(_) => Self::timed_out(seen),
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let status = answer.raw().status().as_u16();
                let message = answer.err().message();
                let text = refusal(code, message, status);
                let message = message.unwrap_or_default();
                Self::new(
                    codes::cause(RefusedCall::Token, code, message, status),
                    &text,
                )
            }
            SdkError::ResponseError(_) => {
                Self::unusable(&format!("the answer of {host} cannot be parsed"))
            }
            other => of_source(other, seen),
        }
    }
}

/// Code and message of a refusal. Where AWS refuses a signature, the lines after the first quote the
/// request, session token included.
fn refusal(code: &str, message: Option<&str>, status: u16) -> String {
    let message = message.and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    match (code, message) {
        ("", None) => format!("status {status} without an error code"),
        ("", Some(message)) => format!("status {status}: {message}"),
        (code, None) => code.to_owned(),
        (code, Some(message)) => format!("{code}: {message}"),
    }
}

/// Errors that say why a request was never sent: no connection, or no credentials. A call for
/// credentials may need credentials in turn, so the innermost of each kind counts.
#[derive(Default)]
struct Sources<'a> {
    setting: Option<&'a InvalidSetting>,
    credentials: Option<&'a CredentialsError>,
    /// A connection that failed for want of nothing else.
    connection: Option<&'a ConnectorError>,
    file: Option<&'a io::Error>,
    named_file: Option<&'a FileError>,
    /// Cause and text of a refusal by STS.
    sts: Option<(Cause, String)>,
}

impl<'a> Sources<'a> {
    fn of(error: &'a (dyn Error + 'static)) -> Self {
        let mut sources = Self::default();
        let mut next = Some(error);
        while let Some(error) = next {
            sources.setting = error.downcast_ref().or(sources.setting);
            if let Some(credentials) = error.downcast_ref() {
                sources.credentials = Some(credentials);
                // The SDK words a call without credentials as a connection that failed.
                sources.connection = None;
            }
            sources.connection = error.downcast_ref().or(sources.connection);
            sources.file = error.downcast_ref().or(sources.file);
            sources.named_file = error.downcast_ref().or(sources.named_file);
            sources.sts = of_sts(error).or(sources.sts);
            next = error.source();
        }
        sources
    }
}

/// Reads an error of a call of STS, except for one of its connection or of the keys that sign it.
fn of_sts(error: &(dyn Error + 'static)) -> Option<(Cause, String)> {
    if let Some(error) = error.downcast_ref::<SdkError<AssumeRoleError>>() {
        return of_sts_call(error, RefusedCall::Role);
    }
    let error = error.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError>>()?;
    of_sts_call(error, RefusedCall::WebIdentity)
}

fn of_sts_call<E>(error: &SdkError<E>, call: RefusedCall) -> Option<(Cause, String)>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (cause, text) = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let status = answer.raw().status().as_u16();
            let message = answer.err().message();
            let text = refusal(code, message, status);
            let message = message.unwrap_or_default();
            (codes::cause(call, code, message, status), text)
        }
        SdkError::TimeoutError(_) => (Cause::AwsTimeout, "no answer in time".to_owned()),
        SdkError::ResponseError(_) => {
            let text = "the answer cannot be parsed";
            (Cause::AwsAnswerUnusable, text.to_owned())
        }
        SdkError::ConstructionFailure(_) if !has_credentials(error) => {
            let text = format!("the request cannot be built: {}", chain(error));
            (Cause::AwsSettingsInvalid, text)
        }
        _ => return None,
    };
    Some((cause, format!("STS: {text}")))
}

/// Whether credentials are behind an error.
fn has_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn of_source(error: &(dyn Error + 'static), seen: &Seen) -> MintFailure {
    let host = seen.host.as_deref().unwrap_or("AWS");
    let sources = Sources::of(error);
    if let Some(invalid) = sources.setting {
        return MintFailure::of_setting(invalid);
    }
    if let Some((cause, text)) = sources.sts {
        return MintFailure::new(cause, &text);
    }
    if let Some(error) = sources.connection {
        let cause = if error.is_timeout() {
            Cause::AwsTimeout
        } else {
            Cause::AwsUnreachable
        };
        return MintFailure::new(cause, &format!("{host}: {}", chain(error)));
    }
    let Some(credentials) = sources.credentials else {
        let text = format!("the request cannot be built: {}", chain(error));
        return MintFailure::new(Cause::AwsSettingsInvalid, &text);
    };
    let refused = || {
        let by_status = seen.status.filter(|status| !(200..300).contains(status));
        by_status
            .and_then(codes::of_status)
            // An agent of the node hands out no keys: AWS has seen none.
            .unwrap_or(Cause::AwsCredentialsMissing)
    };
    let cause = match credentials {
        CredentialsError::CredentialsNotLoaded(_) => Cause::AwsCredentialsMissing,
        CredentialsError::ProviderTimedOut(_) => Cause::AwsTimeout,
        CredentialsError::InvalidConfiguration(_) => Cause::AwsCredentialsUnreadable,
        _ if sources.file.is_some() => Cause::AwsCredentialsUnreadable,
        // The SDK's word for an answer that lacks what it must have.
        CredentialsError::Unhandled(_) => Cause::AwsAnswerUnusable,
        _ => refused(),
    };
    let text = match (cause, sources.named_file, sources.file) {
        (_, Some(file), _) => chain(file),
        (Cause::AwsCredentialsUnreadable, None, Some(error)) if variable(TOKEN_FILE).is_some() => {
            format!("cannot read the file of {TOKEN_FILE}: {error}")
        }
        _ => chain(credentials),
    };
    MintFailure::new(cause, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_omits_quoted_request() {
        let quoting = "the signature does not match\n\nx-amz-security-token:s3cret";
        for (code, message, text) in [
            ("A", Some(quoting), "A: the signature does not match"),
            ("A", None, "A"),
            ("", Some("b"), "status 403: b"),
            ("", Some(" \n"), "status 403 without an error code"),
        ] {
            assert_eq!(refusal(code, message, 403), text);
        }
        let long = MintFailure::unusable(&"words ".repeat(1000));
        assert_eq!(long.detail.len(), scrub::MAX_DETAIL);
    }

    #[test]
    fn each_source_of_credentials_has_its_cause() {
        let seen = |status| Seen {
            status: Some(status),
            ..Seen::default()
        };
        let timeout = ConnectorError::timeout("slow".into());
        // A call of STS that is not signed, because the keys for it are not there.
        let unreadable = CredentialsError::invalid_configuration("bad");
        let unsigned = ConnectorError::other(unreadable.into(), None);
        for (source, status, cause) in [
            (
                CredentialsError::not_loaded("none"),
                0,
                Cause::AwsCredentialsMissing,
            ),
            (
                CredentialsError::invalid_configuration("bad"),
                0,
                Cause::AwsCredentialsUnreadable,
            ),
            (
                CredentialsError::unhandled("no key"),
                200,
                Cause::AwsAnswerUnusable,
            ),
            (
                CredentialsError::provider_error("refused"),
                403,
                Cause::AwsCredentialsMissing,
            ),
            (
                CredentialsError::provider_error("refused"),
                500,
                Cause::AwsServerError,
            ),
            (
                CredentialsError::provider_error("refused"),
                429,
                Cause::AwsThrottled,
            ),
            (
                CredentialsError::provider_error(unsigned),
                0,
                Cause::AwsCredentialsUnreadable,
            ),
            (
                CredentialsError::provider_error(timeout),
                0,
                Cause::AwsTimeout,
            ),
            (
                CredentialsError::provider_error(io::Error::from(io::ErrorKind::NotFound)),
                0,
                Cause::AwsCredentialsUnreadable,
            ),
        ] {
            let failure = of_source(&source, &seen(status));
            assert_eq!(failure.cause, cause, "{source:?}");
        }
    }
}
