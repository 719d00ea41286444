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
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::scrub;

use super::environment::{InvalidSetting, variable};
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

/// The variables with a file that the SDK reads at each load. Its error does not name the file.
const FILES: [&str; 2] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

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

    /// Reads an error of a call of ECR, with what the HTTP client saw of it. `assumes_role` says
    /// whether the call was signed with the credentials of a role.
    pub(super) fn of_call<E>(error: &SdkError<E>, seen: &Seen, assumes_role: bool) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let host = seen.host.as_deref().unwrap_or("AWS");
        if let Some(foreign) = &seen.foreign {
            return Self::unusable(&foreign.to_string());
        }
        match error {
            SdkError::TimeoutError(_) => {
                Self::new(Cause::AwsTimeout, &format!("no answer from {host} in time"))
            }
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let status = answer.raw().status().as_u16();
                let cause = of_code(code, status);
                Self::new(cause, &refusal(code, answer.err().message(), status))
            }
            SdkError::ResponseError(_) => {
                Self::unusable(&format!("the answer of {host} cannot be parsed"))
            }
            other => of_source(other, seen, assumes_role),
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

/// Reads an error code of ECR; an unknown code is judged by its status.
fn of_code(code: &str, status: u16) -> Cause {
    match code {
        "ThrottlingException" | "ThrottleException" | "TooManyRequestsException" | "Throttling" => {
            Cause::AwsThrottled
        }
        "AccessDeniedException" | "AccessDenied" => Cause::AwsAccessDenied,
        "UnrecognizedClientException" | "InvalidClientTokenId" => Cause::AwsCredentialsRefused,
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => Cause::AwsCredentialsExpired,
        "InvalidSignatureException" | "SignatureDoesNotMatch" => Cause::AwsSignatureRefused,
        "ServerException" | "ServiceUnavailable" | "InternalFailure" => Cause::AwsServerError,
        _ => of_status(status).unwrap_or(Cause::AwsError),
    }
}

fn of_status(status: u16) -> Option<Cause> {
    match status {
        429 => Some(Cause::AwsThrottled),
        500.. => Some(Cause::AwsServerError),
        // The answer could not be parsed.
        200..300 => Some(Cause::AwsAnswerUnusable),
        _ => None,
    }
}

/// Reads an error code of STS. The trust policy of a role is behind most of its refusals.
fn of_sts_code(code: &str, status: u16, assumes_role: bool) -> Cause {
    let about_trust = if assumes_role {
        Cause::AwsRoleRefused
    } else {
        Cause::AwsCredentialsRefused
    };
    match of_code(code, status) {
        Cause::AwsAccessDenied | Cause::AwsError => about_trust,
        // A web identity, which the kubelet renews.
        Cause::AwsCredentialsExpired if !assumes_role => about_trust,
        cause => cause,
    }
}

/// Errors that say why a request was never sent: no connection, or no credentials.
#[derive(Default)]
struct Sources<'a> {
    setting: Option<&'a InvalidSetting>,
    credentials: Option<&'a CredentialsError>,
    connection: Option<&'a ConnectorError>,
    /// Whether it is the connection to a source of credentials.
    is_of_credentials: bool,
    file: Option<&'a io::Error>,
    /// Cause and text of a refusal by STS.
    sts: Option<(Cause, String)>,
}

impl<'a> Sources<'a> {
    fn of(error: &'a (dyn Error + 'static), assumes_role: bool) -> Self {
        let mut sources = Self::default();
        let mut next = Some(error);
        while let Some(error) = next {
            sources.setting = sources.setting.or(error.downcast_ref());
            sources.credentials = sources.credentials.or(error.downcast_ref());
            // The connection to STS may be the one that failed: it is the innermost.
            if let Some(connection) = error.downcast_ref() {
                sources.connection = Some(connection);
                sources.is_of_credentials = sources.credentials.is_some();
            }
            sources.file = error.downcast_ref().or(sources.file);
            sources.sts = sources.sts.or_else(|| of_sts(error, assumes_role));
            next = error.source();
        }
        sources
    }
}

/// Reads an error of a call of STS, except for one of its connection.
fn of_sts(error: &(dyn Error + 'static), assumes_role: bool) -> Option<(Cause, String)> {
    let read = error
        .downcast_ref::<SdkError<AssumeRoleError>>()
        .map_or_else(
            || {
                let error = error.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError>>()?;
                of_sts_call(error, assumes_role)
            },
            |error| of_sts_call(error, assumes_role),
        );
    read.map(|(cause, text)| (cause, format!("STS: {text}")))
}

fn of_sts_call<E>(error: &SdkError<E>, assumes_role: bool) -> Option<(Cause, String)>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let status = answer.raw().status().as_u16();
            let text = refusal(code, answer.err().message(), status);
            Some((of_sts_code(code, status, assumes_role), text))
        }
        SdkError::TimeoutError(_) => Some((Cause::AwsTimeout, "no answer in time".to_owned())),
        SdkError::ResponseError(_) => {
            let text = "the answer cannot be parsed";
            Some((Cause::AwsAnswerUnusable, text.to_owned()))
        }
        SdkError::ConstructionFailure(_) => {
            let text = format!("the request cannot be built: {}", chain(error));
            Some((Cause::AwsSettingsInvalid, text))
        }
        _ => None,
    }
}

fn of_source(error: &(dyn Error + 'static), seen: &Seen, assumes_role: bool) -> MintFailure {
    let host = seen.host.as_deref().unwrap_or("AWS");
    let sources = Sources::of(error, assumes_role);
    if let Some(invalid) = sources.setting {
        return MintFailure::of_setting(invalid);
    }
    if let Some((cause, text)) = sources.sts {
        return MintFailure::new(cause, &text);
    }
    let of_connection = |error: &ConnectorError| {
        let cause = if error.is_timeout() {
            Cause::AwsTimeout
        } else {
            Cause::AwsUnreachable
        };
        MintFailure::new(cause, &format!("{host}: {}", chain(error)))
    };
    let credentials = match (sources.connection, sources.credentials) {
        (Some(error), None) => return of_connection(error),
        (Some(error), _) if sources.is_of_credentials => return of_connection(error),
        (_, Some(credentials)) => credentials,
        (None, None) => {
            let text = format!("the request cannot be built: {}", chain(error));
            return MintFailure::new(Cause::AwsSettingsInvalid, &text);
        }
    };
    let refused = || {
        let by_status = seen.status.filter(|status| !(200..300).contains(status));
        by_status.and_then(of_status).unwrap_or(if assumes_role {
            Cause::AwsRoleRefused
        } else {
            Cause::AwsCredentialsRefused
        })
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
    let text = match (cause, sources.file) {
        (Cause::AwsCredentialsUnreadable, Some(error)) => {
            let named = FILES.into_iter().filter(|name| variable(name).is_some());
            let named: Vec<&str> = named.collect();
            format!("cannot read the file of {}: {error}", named.join(" or "))
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
                Cause::AwsCredentialsRefused,
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
            let failure = of_source(&source, &seen(status), false);
            assert_eq!(failure.cause, cause, "{source:?}");
        }
    }

    #[test]
    fn refusal_by_sts_is_about_trust_unless_its_code_says_more() {
        for (code, status, of_role, of_web_identity) in [
            (
                "AccessDenied",
                403,
                Cause::AwsRoleRefused,
                Cause::AwsCredentialsRefused,
            ),
            (
                "InvalidIdentityToken",
                400,
                Cause::AwsRoleRefused,
                Cause::AwsCredentialsRefused,
            ),
            (
                "ExpiredToken",
                403,
                Cause::AwsCredentialsExpired,
                Cause::AwsCredentialsRefused,
            ),
            ("Throttling", 400, Cause::AwsThrottled, Cause::AwsThrottled),
            ("", 503, Cause::AwsServerError, Cause::AwsServerError),
            ("", 200, Cause::AwsAnswerUnusable, Cause::AwsAnswerUnusable),
            (
                "SignatureDoesNotMatch",
                403,
                Cause::AwsSignatureRefused,
                Cause::AwsSignatureRefused,
            ),
        ] {
            assert_eq!(of_sts_code(code, status, true), of_role, "{code} {status}");
            assert_eq!(
                of_sts_code(code, status, false),
                of_web_identity,
                "{code} {status}"
            );
        }
    }

    #[test]
    fn each_code_of_ecr_has_its_cause() {
        let cases = [
            ("ThrottlingException", 400, Cause::AwsThrottled),
            ("ThrottleException", 429, Cause::AwsThrottled),
            ("", 429, Cause::AwsThrottled),
            ("AccessDeniedException", 400, Cause::AwsAccessDenied),
            (
                "UnrecognizedClientException",
                400,
                Cause::AwsCredentialsRefused,
            ),
            ("ExpiredTokenException", 403, Cause::AwsCredentialsExpired),
            ("InvalidSignatureException", 403, Cause::AwsSignatureRefused),
            ("ServerException", 500, Cause::AwsServerError),
            ("", 503, Cause::AwsServerError),
            ("", 200, Cause::AwsAnswerUnusable),
            ("InvalidParameterException", 400, Cause::AwsError),
        ];
        for (code, status, cause) in cases {
            assert_eq!(of_code(code, status), cause, "{code} {status}");
        }
    }
}
