//! A call of AWS that brought no token, and its [`Cause`]: the one place that reads the SDK's errors.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use ecr_pull_secrets_core::cause::Cause;

use crate::telemetry::chain::chain;

/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;

/// Why AWS gave no token. The detail is for the log: it names codes and principals, never a secret
/// value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub(crate) struct MintFailure {
    pub(crate) cause: Cause,
    /// The words of AWS, or of the SDK.
    pub(crate) detail: String,
}

impl MintFailure {
    /// An answer of AWS without a usable token.
    pub(super) fn unusable(detail: impl Into<String>) -> Self {
        Self {
            cause: Cause::AwsAnswerUnusable,
            detail: detail.into(),
        }
    }

    /// Reads an error of a call of ECR. `assumes_role` says whether the call was signed with the
    /// credentials of a role.
    pub(super) fn of_call<E>(error: &SdkError<E>, assumes_role: bool) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let cause = match error {
            SdkError::TimeoutError(_) => Cause::AwsTimeout,
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) => of_source(connector, assumes_role),
                None => Cause::AwsUnreachable,
            },
            SdkError::ConstructionFailure(_) => of_source(error, assumes_role),
            SdkError::ResponseError(_) => Cause::AwsAnswerUnusable,
            SdkError::ServiceError(answer) => of_code(
                answer.err().code().unwrap_or_default(),
                answer.raw().status().as_u16(),
            ),
            _ => Cause::AwsError,
        };
        let text = chain(error);
        let detail = match error {
            SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => on_one_line(&text),
            _ => first_line(&text),
        };
        Self { cause, detail }
    }
}

/// The first line of an answer. Where AWS refuses a signature, the lines after it quote the request,
/// session token included.
fn first_line(text: &str) -> String {
    detail(text.lines().take(1))
}

/// All that the SDK itself says: the providers that it asked for credentials are a list.
fn on_one_line(text: &str) -> String {
    detail(text.lines())
}

fn detail<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ").chars().take(MAX_DETAIL).collect()
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
        _ => match status {
            429 => Cause::AwsThrottled,
            500.. => Cause::AwsServerError,
            // The answer broke off.
            200..300 => Cause::AwsAnswerUnusable,
            _ => Cause::AwsError,
        },
    }
}

/// Reads why a request was never sent: no connection, or no credentials.
fn of_source(error: &(dyn std::error::Error + 'static), assumes_role: bool) -> Cause {
    let mut next = Some(error);
    let mut credentials = None;
    let mut connection = None;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            credentials = credentials.or(Some(error));
        }
        if let Some(error) = error.downcast_ref::<ConnectorError>() {
            connection = Some(error);
        }
        next = error.source();
    }
    match (credentials, connection) {
        // The connection to STS may be the one that failed: it is the innermost.
        (_, Some(connection)) if connection.is_timeout() => Cause::AwsTimeout,
        (_, Some(connection)) if connection.is_io() => Cause::AwsUnreachable,
        (Some(CredentialsError::CredentialsNotLoaded(_)), _) => Cause::AwsCredentialsMissing,
        (Some(CredentialsError::ProviderTimedOut(_)), _) => Cause::AwsTimeout,
        (Some(CredentialsError::InvalidConfiguration(_)), _) => Cause::AwsCredentialsUnreadable,
        (Some(_), _) if assumes_role => Cause::AwsRoleRefused,
        (Some(_), _) => Cause::AwsCredentialsRefused,
        (None, _) => Cause::AwsUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_omits_quoted_request() {
        let quoting = "the signature does not match\n\nx-amz-security-token:s3cret";
        assert_eq!(first_line(quoting), "the signature does not match");
        assert_eq!(first_line(&"a".repeat(1000)).len(), 300);
        assert_eq!(first_line(""), "");
        assert_eq!(
            on_one_line("Attempted:\n  Environment\n"),
            "Attempted: Environment"
        );
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
