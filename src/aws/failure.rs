//! What AWS says, as a [`Cause`]: the one place that reads the SDK's errors.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use ecr_pull_secrets_core::cause::Cause;

use crate::telemetry::chain::chain;

/// Why there is no token. The text is for the log; it names codes and principals, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In one word.
    pub(crate) cause: Cause,
    /// In AWS's words.
    pub(crate) detail: String,
}

impl Failure {
    /// A failure that is not AWS's.
    pub(crate) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
        }
    }

    /// Reads an error of a call of ECR. `assumes_role` tells whose credentials it was made with.
    pub(crate) fn of_call<E>(error: &SdkError<E>, assumes_role: bool) -> Self
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
            SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => in_full(&text),
            _ => brief(&text),
        };
        Self { cause, detail }
    }
}

/// The first line of what AWS says, cut to 300 characters. Where AWS refuses a signature, the lines
/// after it quote the request, session token included.
fn brief(text: &str) -> String {
    cut(text.lines().take(1))
}

/// What the SDK itself says, on one line: where it looked for credentials is a list.
fn in_full(text: &str) -> String {
    cut(text.lines())
}

fn cut<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ").chars().take(300).collect()
}

/// The codes are those that ECR gives; the status decides where the code is news to us.
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
            // It meant well, and broke off.
            200..300 => Cause::AwsAnswerUnusable,
            _ => Cause::AwsError,
        },
    }
}

/// A request that was never sent: either there is no connection, or there are no credentials.
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
        // STS cannot be reached: the innermost connection is the one that failed.
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
    fn what_aws_quotes_of_a_request_is_not_repeated() {
        let quoting = "the signature does not match\n\nx-amz-security-token:s3cret";
        assert_eq!(brief(quoting), "the signature does not match");
        assert_eq!(brief(&"a".repeat(1000)).len(), 300);
        assert_eq!(brief(""), "");
        assert_eq!(
            in_full("Attempted:\n  Environment\n"),
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
