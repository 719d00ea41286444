//! Why a node could not pull, read from what its kubelet says in the pod's status.
//!
//! The text is the container runtime's, and mostly quotes the registry. It names the image, too,
//! which pod authors choose; so every pattern holds a space, which no image name can.

use crate::cause::Cause;

/// In the order of precedence: a text may hold several. `None` is nothing that we could name.
const PATTERNS: &[(&str, Option<Cause>)] = &[
    // The image is there, and not for this kind of node.
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
    // ECR's answer to credentials that are none of its own.
    (": 400 bad request", Some(Cause::TokenInvalid)),
    (": 404 not found", Some(Cause::ImageNotFound)),
    (": not found", Some(Cause::ImageNotFound)),
];

/// The cause in a message of a container that waits for its image, if it is one of ours to name.
pub fn of_pull(message: &str) -> Option<Cause> {
    let message = message.to_ascii_lowercase();
    let known = PATTERNS
        .iter()
        .find(|(pattern, _)| message.contains(pattern));
    known.and_then(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/denied:not-found";

    /// As containerd 2 words it.
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
    fn what_containerd_says_has_its_cause() {
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
            // While it pauses, the kubelet repeats what went wrong last.
            let backing_off =
                format!("Back-off pulling image \"{IMAGE}\": ErrImagePull: {message}");
            assert_eq!(of_pull(&backing_off), cause, "{backing_off}");
        }
    }

    #[test]
    fn what_other_runtimes_say_has_its_cause() {
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
    fn an_image_cannot_name_a_cause() {
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
}
