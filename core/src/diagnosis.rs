//! The cause of a failed pull, read from the message in the pod's status, and the token that is to
//! blame for it.
//!
//! The kubelet passes on the container runtime's message, which mostly quotes the registry. What
//! the registry says decides first, then the action that AWS names, then the request that failed: its
//! host, its phase (manifest or layer) and its status. The message also names the image, and a
//! tenant chooses that name. So every pattern holds a space, because an image name holds none.
//!
//! `tests/fixtures/pull-errors.tsv` lists texts of the container runtimes with their causes.

use jiff::{SignedDuration, Timestamp};

use crate::cause::Cause;
use crate::identity::{Access, TokenKey};
use crate::image::Registry;

mod request;

use request::{FailedRequest, Phase};

/// A pull that a private registry of ECR refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedPull {
    /// Why.
    pub cause: Cause,
    /// The registry of the image.
    pub registry: Registry,
}

impl RefusedPull {
    /// Whether the registry refused the token itself, or may have: a new token is worth a try.
    pub fn is_of_token(&self) -> bool {
        matches!(
            self.cause,
            Cause::TokenExpired | Cause::TokenInvalid | Cause::PullRefused
        )
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
/// attempt. Trouble of the network or of ECR may be over then, too.
const CREDENTIALS_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// The words before the name of an action that AWS refuses.
const ACTION_PREFIX: &str = "not authorized to perform: ";
/// The actions of ECR that a pull through a cache needs for the first pull of an image.
const IMPORT_ACTIONS: [&str; 2] = ["ecr:batchimportupstreamimage", "ecr:createrepository"];

/// What ECR and the container runtimes say, in lower case, and the causes. A message may match
/// several, because the kubelet joins the errors of all credentials: the first one wins. A bad token
/// comes first: another may be all that the pull needs.
const SAYINGS: &[(&str, Cause)] = &[
    ("authorization token has expired", Cause::TokenExpired),
    ("authorization token is invalid", Cause::TokenInvalid),
    ("no basic auth credentials", Cause::PullUnauthenticated),
    // ECR's own names of its errors, and its explanations of them.
    ("unable to get upstream", Cause::UpstreamRefused),
    ("the pull through cache rule", Cause::UpstreamRefused),
    ("upstream registry ", Cause::UpstreamRefused),
    // The image exists, but not for the node's platform.
    ("no match for platform", Cause::ImagePlatformMissing),
    ("no matching manifest", Cause::ImagePlatformMissing),
    ("no image found in image index", Cause::ImagePlatformMissing),
    (
        "no image found in manifest list",
        Cause::ImagePlatformMissing,
    ),
    ("name unknown: ", Cause::ImageNotFound),
    ("manifest unknown: ", Cause::ImageNotFound),
    ("toomanyrequests: ", Cause::RegistryBusy),
    ("too many requests", Cause::RegistryBusy),
];

/// What a client says that got no answer, and the causes.
const UNANSWERED: &[(&str, Cause)] = &[
    // Go's text for a proxy that does not connect: the status alone.
    ("\": proxy authentication required", Cause::ProxyRefused),
    ("\": forbidden", Cause::ProxyRefused),
    ("\": bad gateway", Cause::ProxyRefused),
    ("\": service unavailable", Cause::ProxyRefused),
    ("\": gateway timeout", Cause::ProxyRefused),
    (" proxyconnect tcp: ", Cause::ProxyRefused),
    (": dial tcp", Cause::RegistryUnreachable),
    (": read tcp ", Cause::RegistryUnreachable),
    (" tls: ", Cause::RegistryUnreachable),
    (" x509: ", Cause::RegistryUnreachable),
    (" tls handshake timeout", Cause::RegistryUnreachable),
    (": net/http: ", Cause::RegistryUnreachable),
    (" i/o timeout", Cause::RegistryUnreachable),
    (" context deadline exceeded", Cause::RegistryUnreachable),
    ("failed to do request: ", Cause::RegistryUnreachable),
    (": unexpected eof", Cause::RegistryUnreachable),
];

/// What a message says whose request is not known, in the order of CRI-O and the Docker engine.
const UNPLACED: &[(&str, Cause)] = &[
    ("authentication required", Cause::PullUnauthenticated),
    ("may require authorization", Cause::PullUnauthenticated),
    // The Docker engine prints this for every answer of the code DENIED.
    ("pull access denied for ", Cause::PullRefused),
    (": 401 unauthorized", Cause::PullUnauthenticated),
    ("denied: ", Cause::PullRefused),
    ("access to the resource is denied", Cause::PullRefused),
    (": 403 forbidden", Cause::PullRefused),
    (": not found", Cause::ImageNotFound),
];

/// The cause of a container that waits for its image; `None` where none is known.
pub fn of_waiting(reason: &str, message: &str) -> Option<Cause> {
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => of_pull(message),
        "ErrImageNeverPull" => Some(Cause::ImageNeverPull),
        _ => None,
    }
}

fn of_pull(message: &str) -> Option<Cause> {
    let message = message.to_ascii_lowercase();
    let first = |table: &[(&str, Cause)]| {
        let mut table = table.iter();
        let found = table.find(|(pattern, _)| message.contains(pattern));
        found.map(|(_, cause)| *cause)
    };
    first(SAYINGS)
        .or_else(|| of_action(&message))
        .or_else(|| {
            FailedRequest::find(&message).and_then(|request| of_request(&request, &message))
        })
        .or_else(|| first(UNANSWERED))
        .or_else(|| first(UNPLACED))
}

/// The cause that the refused action means.
fn of_action(message: &str) -> Option<Cause> {
    let (_, rest) = message.split_once(ACTION_PREFIX)?;
    let action = rest
        .split(|byte: char| !(byte.is_ascii_alphanumeric() || byte == ':'))
        .next()?;
    Some(match action {
        action if IMPORT_ACTIONS.contains(&action) => Cause::UpstreamImportDenied,
        action if action.starts_with("s3:") => Cause::LayerRefused,
        _ => Cause::PullDenied,
    })
}

/// The cause that a request means whose answer has a status.
fn of_request(request: &FailedRequest, message: &str) -> Option<Cause> {
    // containerd prints a registry's answer in a line of its own; 1.7 prints `Server message: `.
    let is_told = message.contains("\ndenied") || message.contains("denied: ");
    Some(match (request.phase, request.status) {
        _ if request.is_page => Cause::ProxyRefused,
        (_, 407) => Cause::ProxyRefused,
        (_, 429 | 500..) => Cause::RegistryBusy,
        // Neither ECR nor its storage: a portal or a proxy answers in their place.
        (Phase::Elsewhere, _) => Cause::ProxyRefused,
        (Phase::Storage, 400..) => Cause::LayerRefused,
        (_, 404) => Cause::ImageNotFound,
        // ECR says why it refuses a layer. Its storage, to which it redirects, does not.
        (Phase::Layer, 403) if !is_told => Cause::LayerRefused,
        // Without credentials, the text is another: no basic auth credentials.
        (_, 401 | 403) => Cause::PullRefused,
        // ECR's answer to credentials that it did not issue.
        (_, 400) => Cause::TokenInvalid,
        _ => return None,
    })
}

/// The refused pulls of a pod that are to be reported now. `created` is the time at which the API
/// server stored the pod, where it says so.
pub fn due(
    refusals: &[RefusedPull],
    created: Option<Timestamp>,
    now: Timestamp,
) -> impl Iterator<Item = &RefusedPull> {
    let is_old = created.is_some_and(|created| now.duration_since(created) > CREDENTIALS_GRACE);
    let may_pass = |pull: &RefusedPull| {
        pull.is_of_token()
            || matches!(
                pull.cause,
                Cause::PullUnauthenticated | Cause::RegistryUnreachable | Cause::RegistryBusy
            )
    };
    let all = refusals.iter();
    all.filter(move |pull| is_old || !may_pass(pull))
}

#[cfg(test)]
mod tests;
