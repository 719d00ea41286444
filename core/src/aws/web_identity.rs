//! What STS means when it refuses a web identity: the token of a ServiceAccount, with the cluster as OIDC issuer.
//!
//! STS has one code, `InvalidIdentityToken`, for mistakes that are corrected in different places. So
//! this is the one place that reads a message of STS. A message that is not known is judged by its
//! code. Sources of the messages: threads of users with the answers of STS, and AWS's knowledge center
//! ("InvalidIdentityToken").

use core::net::IpAddr;

use crate::cause::Cause;

/// STS's word for a token that it does not accept.
const INVALID: [&str; 2] = ["InvalidIdentityToken", "InvalidIdentityTokenException"];

/// The text before the issuer that the account does not know.
const NO_PROVIDER: &str = "No OpenIDConnect provider found in your account for ";

/// The cause of a refusal, where code or message says one.
pub fn cause(code: &str, message: &str) -> Option<Cause> {
    match code {
        "ExpiredToken" | "ExpiredTokenException" => Some(Cause::AwsWebIdentityExpired),
        "IDPCommunicationError" | "IDPCommunicationErrorException" => {
            Some(Cause::AwsOidcIssuerUnreachable)
        }
        _ if !INVALID.contains(&code) => None,
        _ => match message.split_once(NO_PROVIDER) {
            Some((_, issuer)) if is_private(issuer) => Some(Cause::AwsOidcIssuerPrivate),
            Some(_) => Some(Cause::AwsOidcProviderMissing),
            None if message.contains("Incorrect token audience") => {
                Some(Cause::AwsOidcAudienceRefused)
            }
            None if message.contains("retrieve verification key") => {
                Some(Cause::AwsOidcKeysMissing)
            }
            None => None,
        },
    }
}

/// Whether an issuer has a name or an address of a cluster or of a private network, as the issuers
/// that API servers have by default: nothing outside can reach it.
fn is_private(issuer: &str) -> bool {
    let issuer = issuer.trim();
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default().to_ascii_lowercase();
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        Err(_) => {
            let endings = [".svc", ".cluster.local", ".local", ".internal"];
            !host.contains('.') || endings.iter().any(|ending| host.ends_with(ending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_sts_has_its_cause() {
        for (code, message, wanted) in [
            (
                "InvalidIdentityToken",
                "No OpenIDConnect provider found in your account for https://oidc.example.com/a",
                Some(Cause::AwsOidcProviderMissing),
            ),
            (
                "InvalidIdentityToken",
                "No OpenIDConnect provider found in your account for https://kubernetes.default.svc",
                Some(Cause::AwsOidcIssuerPrivate),
            ),
            (
                "InvalidIdentityToken",
                "Incorrect token audience",
                Some(Cause::AwsOidcAudienceRefused),
            ),
            (
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements",
                Some(Cause::AwsOidcKeysMissing),
            ),
            (
                "ExpiredTokenException",
                "Token expired: current date/time 2 must be before the expiration date/time 1",
                Some(Cause::AwsWebIdentityExpired),
            ),
            (
                "IDPCommunicationError",
                "",
                Some(Cause::AwsOidcIssuerUnreachable),
            ),
            ("InvalidIdentityToken", "something new", None),
            ("AccessDenied", "Incorrect token audience", None),
            ("", "", None),
        ] {
            assert_eq!(cause(code, message), wanted, "{code}: {message}");
        }
    }

    #[test]
    fn issuers_of_a_private_network_are_known() {
        for (issuer, wanted) in [
            ("https://kubernetes.default.svc", true),
            ("https://kubernetes.default.svc.cluster.local", true),
            ("https://KUBERNETES.default.svc:443/", true),
            ("kubernetes.default.svc", true),
            ("https://10.1.2.3:6443", true),
            ("https://[fd00::1]:6443", true),
            ("https://control-plane:6443/a.b", true),
            ("https://api.example.com:6443", false),
            ("https://s3.eu-central-1.amazonaws.com/bucket", false),
            ("https://203.0.113.7:6443", false),
            ("https://[2001:db8::1]", false),
        ] {
            assert_eq!(is_private(issuer), wanted, "{issuer}");
        }
    }
}
