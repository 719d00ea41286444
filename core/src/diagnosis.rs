//! The cause of a failed pull, read from the message in the pod's status, and the token that is to
//! blame for it.
//!
//! The kubelet passes on the container runtime's message, which mostly quotes the registry. The
//! message also names the image, and a tenant chooses that name. So every pattern holds a space,
//! because an image name holds none.

use jiff::{SignedDuration, Timestamp};

use crate::cause::Cause;
use crate::identity::{Access, TokenKey};
use crate::image::Registry;

/// A pull that a private registry of ECR refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedPull {
    /// Why.
    pub cause: Cause,
    /// The registry of the image.
    pub registry: Registry,
}

impl RefusedPull {
    /// Whether the registry refused the token itself, rather than the pull.
    pub fn is_of_token(&self) -> bool {
        matches!(self.cause, Cause::TokenExpired | Cause::TokenInvalid)
    }

    /// The key of the token that the registry refused, if it is one of those that the pod's Secret
    /// must open. The tokens of the pod's other registries are not to blame.
    pub fn refused_key(&self, registries: &[Access]) -> Option<TokenKey> {
        let mut opened = registries.iter().filter(|_| self.is_of_token());
        let access = opened.find(|access| access.registry == self.registry)?;
        Some(access.token_key())
    }
}

/// The age from which a pod's missing credentials are reported: its node may have them at the next
/// attempt.
const CREDENTIALS_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Patterns in lower case and their causes. A message may match several: the first one wins. `None`
/// marks a failure that no cause describes.
const PATTERNS: &[(&str, Option<Cause>)] = &[
    // The image exists, but not for the node's platform.
    ("no match for platform", None),
    ("no matching manifest", None),
    ("authorization token has expired", Some(Cause::TokenExpired)),
    ("authorization token is invalid", Some(Cause::TokenInvalid)),
    (
        "no basic auth credentials",
        Some(Cause::PullUnauthenticated),
    ),
    (
        "may require authorization",
        Some(Cause::PullUnauthenticated),
    ),
    ("authentication required", Some(Cause::PullUnauthenticated)),
    (": 401 unauthorized", Some(Cause::PullUnauthenticated)),
    ("is not authorized to perform", Some(Cause::PullDenied)),
    ("name unknown: ", Some(Cause::ImageNotFound)),
    ("manifest unknown: ", Some(Cause::ImageNotFound)),
    (": 403 forbidden", Some(Cause::PullDenied)),
    ("denied: ", Some(Cause::PullDenied)),
    // ECR's answer to credentials that it did not issue.
    (": 400 bad request", Some(Cause::TokenInvalid)),
    (": 404 not found", Some(Cause::ImageNotFound)),
    (": not found", Some(Cause::ImageNotFound)),
];

/// The cause in the message of a container that waits for its image; `None` where no pattern matches.
pub fn of_pull(message: &str) -> Option<Cause> {
    let message = message.to_ascii_lowercase();
    let known = PATTERNS
        .iter()
        .find(|(pattern, _)| message.contains(pattern));
    known.and_then(|(_, cause)| *cause)
}

/// The refused pulls of a pod that are to be reported now. `created` is the time at which the API
/// server stored the pod, where it says so.
pub fn due(
    refusals: &[RefusedPull],
    created: Option<Timestamp>,
    now: Timestamp,
) -> impl Iterator<Item = &RefusedPull> {
    let is_old = created.is_some_and(|created| now.duration_since(created) > CREDENTIALS_GRACE);
    let is_of_credentials =
        |pull: &RefusedPull| pull.is_of_token() || pull.cause == Cause::PullUnauthenticated;
    let all = refusals.iter();
    all.filter(move |pull| is_old || !is_of_credentials(pull))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const IMAGE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/denied:not-found";

    #[test]
    fn only_key_of_refusing_registry_is_refused() {
        let access = |region: &str| Access {
            registry: Registry::of_host(&format!("123456789012.dkr.ecr.{region}.amazonaws.com"))
                .unwrap(),
            identity: Identity::Ambient,
        };
        let (refusing, other) = (access("us-east-1"), access("eu-west-1"));
        let registries = [other.clone(), refusing.clone()];
        for (cause, is_of_token) in [
            (Cause::TokenExpired, true),
            (Cause::TokenInvalid, true),
            (Cause::PullDenied, false),
            (Cause::PullUnauthenticated, false),
        ] {
            let pull = RefusedPull {
                cause,
                registry: refusing.registry.clone(),
            };
            let key = is_of_token.then(|| refusing.token_key());
            assert_eq!(pull.refused_key(&registries), key, "{cause}");
            // An image of a registry that the Secret need not open, such as one that a rule denies.
            assert_eq!(
                pull.refused_key(std::slice::from_ref(&other)),
                None,
                "{cause}"
            );
        }
    }

    /// An error of containerd 2.
    fn resolve(rest: &str) -> String {
        format!(
            "failed to pull and unpack image \"{IMAGE}\": failed to resolve reference \"{IMAGE}\": {rest}"
        )
    }

    fn status(rest: &str) -> String {
        let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        resolve(&format!(
            "unexpected status from HEAD request to https://{host}/v2/denied/manifests/not-found: {rest}"
        ))
    }

    #[test]
    fn containerd_errors_have_their_causes() {
        let not_found = format!("{IMAGE}: not found");
        let cases = [
            (
                resolve(
                    "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
                ),
                Some(Cause::PullUnauthenticated),
            ),
            (status("401 Unauthorized"), Some(Cause::PullUnauthenticated)),
            (status("403 Forbidden"), Some(Cause::PullDenied)),
            (
                status(
                    "403 Forbidden\ndenied: User: arn:aws:iam::1:role/r is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:r:1:repository/app because no identity-based policy allows the ecr:BatchGetImage action",
                ),
                Some(Cause::PullDenied),
            ),
            (
                status(
                    "403 Forbidden\ndenied: Your authorization token has expired. Reauthenticate and try again.",
                ),
                Some(Cause::TokenExpired),
            ),
            (
                status("400 Bad Request\ndenied: Your Authorization Token is invalid."),
                Some(Cause::TokenInvalid),
            ),
            (status("400 Bad Request"), Some(Cause::TokenInvalid)),
            (resolve(&not_found), Some(Cause::ImageNotFound)),
            (
                resolve("no match for platform in manifest: not found"),
                None,
            ),
            (status("503 Service Unavailable"), None),
            (status("429 Too Many Requests"), None),
            (
                resolve(
                    "failed to do request: Head \"https://x/\": dial tcp: lookup x: no such host",
                ),
                None,
            ),
            (
                resolve("failed to do request: Head \"https://x/\": context deadline exceeded"),
                None,
            ),
        ];
        for (message, cause) in cases {
            assert_eq!(of_pull(&message), cause, "{message}");
            // While the kubelet backs off, it repeats the last error.
            let backing_off =
                format!("Back-off pulling image \"{IMAGE}\": ErrImagePull: {message}");
            assert_eq!(of_pull(&backing_off), cause, "{backing_off}");
        }
    }

    #[test]
    fn errors_of_other_runtimes_have_their_causes() {
        let cases = [
            (
                "reading manifest v1 in x: name unknown: The repository with name 'app' does not exist in the registry with id '123456789012'",
                Some(Cause::ImageNotFound),
            ),
            (
                "reading manifest v1 in x: manifest unknown: Requested image not found",
                Some(Cause::ImageNotFound),
            ),
            (
                "initializing source docker://x: reading manifest v1 in x: denied: User: arn:aws:iam::1:user/u is not authorized to perform: ecr:BatchGetImage",
                Some(Cause::PullDenied),
            ),
            (
                "Error response from daemon: denied: Your authorization token has expired. Reauthenticate and try again.",
                Some(Cause::TokenExpired),
            ),
            (
                "unable to retrieve auth token: invalid username/password: authentication required",
                Some(Cause::PullUnauthenticated),
            ),
        ];
        for (message, cause) in cases {
            assert_eq!(of_pull(message), cause, "{message}");
        }
    }

    #[test]
    fn image_name_never_selects_a_cause() {
        let names = [
            "denied:not-found",
            "app:403-forbidden",
            "manifest-unknown:x",
        ];
        for name in names {
            let message = format!("Back-off pulling image \"1.example/{name}\"");
            assert_eq!(of_pull(&message), None, "{message}");
        }
        for (pattern, _) in PATTERNS {
            assert!(pattern.contains(' '), "{pattern}");
            assert_eq!(*pattern, pattern.to_ascii_lowercase());
        }
    }

    #[test]
    fn missing_credentials_are_due_after_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let registry = Registry::of_host("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
        let all = [
            Cause::TokenExpired,
            Cause::TokenInvalid,
            Cause::PullUnauthenticated,
            Cause::PullDenied,
            Cause::ImageNotFound,
        ];
        let pulls = all.map(|cause| RefusedPull {
            cause,
            registry: registry.clone(),
        });
        let due = |created, now| -> Vec<Cause> {
            let due = due(&pulls, created, at(now));
            due.map(|pull| pull.cause).collect()
        };
        let others = [Cause::PullDenied, Cause::ImageNotFound];
        assert_eq!(due(Some(at(0)), 60), others);
        assert_eq!(due(None, 1000), others);
        assert_eq!(due(Some(at(0)), 61), all);
    }
}
