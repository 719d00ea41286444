//! The request that failed, as containerd, containers/image and the Docker engine print it.

/// The server that a request asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The registry, for a manifest.
    Manifest,
    /// The registry, for a layer; it redirects to the storage.
    Layer,
    /// The storage of layers: S3.
    Storage,
    /// Another host, to which something between node and registry redirects.
    Elsewhere,
}

/// A request and the status of its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailedRequest {
    pub(super) phase: Phase,
    pub(super) status: u16,
    /// The answer is a page for people, which ECR never sends.
    pub(super) is_page: bool,
}

/// What stands before the URL of a request; the URL ends with `: ` and the status.
const PREFIXES: [&str; 7] = [
    // containerd: core/remotes/errors/errors.go
    "unexpected status from head request to ",
    "unexpected status from get request to ",
    "unexpected status from post request to ",
    // containerd 1.7: remotes/docker/fetcher.go
    "unexpected status code ",
    // A status without a URL: containers/image, docker/errors.go and docker/distribution_error.go
    "received unexpected http status: ",
    "statuscode: ",
    // The Docker engine: docker/distribution, registry/client/errors.go
    "error parsing http ",
];
/// The first words of [`PREFIXES`] that a status follows instead of a URL.
const BARE: usize = 4;

impl FailedRequest {
    /// The first request in a message in lower case.
    pub(super) fn find(message: &str) -> Option<Self> {
        let found = PREFIXES.iter().enumerate().find_map(|(place, prefix)| {
            let (before, rest) = message.split_once(prefix)?;
            Some((place >= BARE, before, rest))
        });
        let (is_bare, before, rest) = found?;
        if is_bare {
            // containers/image names the phase: `reading manifest …`, `fetching blob …`.
            let is_layer = before.contains(" blob ") || before.contains(" blob: ");
            // The storage answers in XML, and the registry never does.
            let phase = if rest.contains("\"<?xml ") {
                Phase::Storage
            } else if is_layer {
                Phase::Layer
            } else {
                Phase::Manifest
            };
            return Self::with(phase, rest);
        }
        let (url, rest) = rest.split_once(": ")?;
        Self::with(Phase::of(url)?, rest)
    }

    fn with(phase: Phase, rest: &str) -> Option<Self> {
        let digits = rest.get(..3)?;
        let status = digits.parse().ok()?;
        let is_page = rest.contains("\"<html") || rest.contains("\"<!doctype html");
        Some(Self {
            phase,
            status,
            is_page,
        })
    }
}

impl Phase {
    fn of(url: &str) -> Option<Self> {
        let (_, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.rsplit('/');
        let kind = parts.nth(1);
        // A repository may be called `blobs`: the place in the path decides.
        Some(match (path.starts_with("v2/"), kind) {
            (true, Some("manifests")) => Self::Manifest,
            (true, Some("blobs")) => Self::Layer,
            _ if is_storage(host) => Self::Storage,
            _ => Self::Elsewhere,
        })
    }
}

/// Whether a host is S3's: `BUCKET.s3.REGION.amazonaws.com`, and the older `s3-REGION`.
fn is_storage(host: &str) -> bool {
    let mut labels = host.split('.');
    let is_amazon =
        host.contains(".amazonaws.") || host.contains(".api.aws") || host.contains(".gov");
    is_amazon && labels.any(|label| label == "s3" || label.starts_with("s3-"))
}
