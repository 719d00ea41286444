//! What an error code of AWS means: the one table of codes of ECR and STS.
//!
//! A code is transient, or a person has to change something first: [`Cause::retry`] says which. STS
//! uses the same codes for other things than ECR, so the call counts. An unknown code is judged by the
//! call, and without a code by the status.
//!
//! Sources: the API references of Amazon ECR and AWS STS ("Errors" of each action and "Common
//! Errors"), and the list of throttling codes of the AWS SDKs.

use super::web_identity;
use crate::cause::Cause;

/// The call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedCall {
    /// `GetAuthorizationToken` of ECR.
    Token,
    /// `AssumeRole` of STS.
    Role,
    /// `AssumeRoleWithWebIdentity` of STS.
    WebIdentity,
}

const THROTTLING: [&str; 12] = [
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottleException",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// The cause of a refusal. `code` is empty where the answer has none. The message counts for a web
/// identity alone.
pub fn cause(call: RefusedCall, code: &str, message: &str, status: u16) -> Cause {
    if call == RefusedCall::WebIdentity
        && let Some(cause) = web_identity::cause(code, message)
    {
        return cause;
    }
    match code {
        _ if THROTTLING.contains(&code) => return Cause::AwsThrottled,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => return Cause::AwsServerError,
        "RequestTimeout" | "RequestTimeoutException" => return Cause::AwsTimeout,
        "RegionDisabled" | "RegionDisabledException" => return Cause::AwsRegionDisabled,
        "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "UnrecognizedClientException" => return Cause::AwsCredentialsRefused,
        // `RequestExpired` is about the date of the request, and so about a clock.
        "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch" => return Cause::AwsSignatureRefused,
        _ => {}
    }
    match (call, code) {
        // The session that signed the call.
        (
            RefusedCall::Token | RefusedCall::Role,
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired",
        ) => Cause::AwsCredentialsExpired,
        (RefusedCall::Token, "AccessDenied" | "AccessDeniedException") => Cause::AwsAccessDenied,
        _ => of_status(status).unwrap_or(match call {
            RefusedCall::Token => Cause::AwsError,
            // A trust policy is behind most refusals, and the code is in the detail.
            RefusedCall::Role => Cause::AwsRoleRefused,
            RefusedCall::WebIdentity => Cause::AwsWebIdentityRefused,
        }),
    }
}

/// The cause of an answer without a code that is known; `None` where the status says nothing.
pub fn of_status(status: u16) -> Option<Cause> {
    match status {
        429 => Some(Cause::AwsThrottled),
        500.. => Some(Cause::AwsServerError),
        // The answer could not be parsed.
        200..300 => Some(Cause::AwsAnswerUnusable),
        _ => None,
    }
}

/// Whether the credentials may be what AWS refused: the next call uses others, if there are any by
/// then. A session lives for hours, and the role behind it may have been replaced since.
pub fn blames_credentials(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::AwsAccessDenied
            | Cause::AwsCredentialsExpired
            | Cause::AwsCredentialsRefused
            | Cause::AwsSignatureRefused
            | Cause::AwsRoleRefused
            | Cause::AwsWebIdentityRefused
            | Cause::AwsWebIdentityExpired
            | Cause::AwsOidcProviderMissing
            | Cause::AwsOidcIssuerPrivate
            | Cause::AwsOidcKeysMissing
            | Cause::AwsOidcAudienceRefused
            | Cause::AwsError
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Retry;

    const CALLS: [RefusedCall; 3] = [
        RefusedCall::Token,
        RefusedCall::Role,
        RefusedCall::WebIdentity,
    ];

    #[test]
    fn transient_codes_are_retried_soon() {
        for (code, status, wanted) in [
            ("Throttling", 400, Cause::AwsThrottled),
            ("ThrottlingException", 400, Cause::AwsThrottled),
            ("ThrottleException", 429, Cause::AwsThrottled),
            ("RequestLimitExceeded", 400, Cause::AwsThrottled),
            ("", 429, Cause::AwsThrottled),
            ("ServiceUnavailable", 503, Cause::AwsServerError),
            ("InternalFailure", 500, Cause::AwsServerError),
            ("ServerException", 500, Cause::AwsServerError),
            ("SomethingNew", 502, Cause::AwsServerError),
            ("", 503, Cause::AwsServerError),
            ("RequestTimeout", 400, Cause::AwsTimeout),
            ("", 200, Cause::AwsAnswerUnusable),
        ] {
            for call in CALLS {
                assert_eq!(cause(call, code, "", status), wanted, "{call:?} {code}");
            }
            assert_eq!(wanted.retry(), Retry::Soon, "{code} {status}");
        }
    }

    #[test]
    fn code_means_what_its_call_says() {
        use RefusedCall::{Role, Token, WebIdentity};
        for (call, code, status, wanted) in [
            (Token, "AccessDeniedException", 400, Cause::AwsAccessDenied),
            (Role, "AccessDenied", 403, Cause::AwsRoleRefused),
            (
                WebIdentity,
                "AccessDenied",
                403,
                Cause::AwsWebIdentityRefused,
            ),
            (
                Token,
                "UnrecognizedClientException",
                400,
                Cause::AwsCredentialsRefused,
            ),
            (
                Role,
                "InvalidClientTokenId",
                403,
                Cause::AwsCredentialsRefused,
            ),
            (
                Token,
                "ExpiredTokenException",
                403,
                Cause::AwsCredentialsExpired,
            ),
            (Role, "ExpiredToken", 403, Cause::AwsCredentialsExpired),
            (
                WebIdentity,
                "ExpiredTokenException",
                400,
                Cause::AwsWebIdentityExpired,
            ),
            (
                WebIdentity,
                "InvalidIdentityToken",
                400,
                Cause::AwsWebIdentityRefused,
            ),
            (
                WebIdentity,
                "IDPRejectedClaim",
                403,
                Cause::AwsWebIdentityRefused,
            ),
            (
                Role,
                "RegionDisabledException",
                403,
                Cause::AwsRegionDisabled,
            ),
            (
                WebIdentity,
                "RegionDisabledException",
                403,
                Cause::AwsRegionDisabled,
            ),
            (
                Token,
                "InvalidSignatureException",
                403,
                Cause::AwsSignatureRefused,
            ),
            (
                Role,
                "SignatureDoesNotMatch",
                403,
                Cause::AwsSignatureRefused,
            ),
            (Token, "RequestExpired", 400, Cause::AwsSignatureRefused),
            (Token, "InvalidParameterException", 400, Cause::AwsError),
            (Token, "", 403, Cause::AwsError),
            (Role, "", 403, Cause::AwsRoleRefused),
        ] {
            assert_eq!(cause(call, code, "", status), wanted, "{call:?} {code}");
        }
    }

    #[test]
    fn refusal_of_any_credentials_drops_them() {
        for (call, code, status) in [
            (RefusedCall::Token, "AccessDeniedException", 400),
            (RefusedCall::Token, "UnrecognizedClientException", 400),
            (RefusedCall::Token, "InvalidSignatureException", 403),
            (RefusedCall::Token, "IncompleteSignatureException", 400),
            (
                RefusedCall::Token,
                "MissingAuthenticationTokenException",
                403,
            ),
            (RefusedCall::Token, "ExpiredTokenException", 403),
            (RefusedCall::Token, "", 403),
            (RefusedCall::Role, "AccessDenied", 403),
            (RefusedCall::Role, "ExpiredToken", 403),
            (RefusedCall::WebIdentity, "InvalidIdentityToken", 400),
        ] {
            assert!(blames_credentials(cause(call, code, "", status)), "{code}");
        }
        for (code, status) in [("Throttling", 400), ("", 500)] {
            for call in CALLS {
                assert!(!blames_credentials(cause(call, code, "", status)), "{code}");
            }
        }
        assert!(!blames_credentials(Cause::AwsOidcIssuerUnreachable));
    }
}
