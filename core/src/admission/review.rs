//! Bytes to a review, and an answer to bytes: the only place where either happens.
//!
//! [`decode`] reads `admission.k8s.io/v1` and nothing else; whatever it cannot read is an
//! [`InvalidReview`], which HTTP turns into a 4xx, which the API server treats by its
//! `failurePolicy`. [`encode`] knows no way to say `allowed: false`.

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::workload::pod::{Object, Pod, Text, object};

/// What cannot be answered, because it is no review of a pod.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReview {
    /// Not JSON, or not of the shape.
    #[error("cannot read the admission review: {0}")]
    Json(#[from] serde_json::Error),
    /// Another API version or kind.
    #[error("expected an AdmissionReview of admission.k8s.io/v1, got {kind} of {api_version}")]
    Version {
        /// The `apiVersion` that came.
        api_version: String,
        /// The `kind` that came.
        kind: String,
    },
    /// `request` is missing or null.
    #[error("the admission review holds no request")]
    NoRequest,
    /// `object` is missing or null.
    #[error("the admission review holds no pod")]
    NoPod,
    /// The request is about another kind.
    #[error("the admission review is about {0}, not about a Pod")]
    NotAPod(String),
    /// A name that no API server gives. It would be echoed, or remembered.
    #[error("{what} of the admission request has more than {most} bytes")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What it may have.
        most: usize,
    },
}

/// A uid has 36 bytes.
const LONGEST_UID: usize = 128;
/// By the rules of Kubernetes.
const LONGEST_NAMESPACE: usize = 63;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    api_version: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow, default, deserialize_with = "object")]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
    #[serde(borrow)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    sub_resource: Option<Text<'a>>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow, default, deserialize_with = "object")]
    object: Option<Pod<'a>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
}

/// A request to admit a pod.
#[derive(Debug)]
pub struct Review<'a> {
    /// To be echoed.
    pub uid: Text<'a>,
    /// The namespace of the request. The object's own may be empty; this one never is.
    pub namespace: Text<'a>,
    /// The pod runs already, and gets an ephemeral container: it cannot be patched any more.
    pub is_running: bool,
    /// Nothing may be written on behalf of this request.
    pub dry_run: bool,
    /// The pod as it stands.
    pub pod: Pod<'a>,
}

/// Reads a review.
///
/// # Errors
///
/// [`InvalidReview`] says what it is instead of a review of a pod.
pub fn decode(bytes: &[u8]) -> Result<Review<'_>, InvalidReview> {
    let Object(envelope): Object<Envelope<'_>> = serde_json::from_slice(bytes)?;
    if &*envelope.api_version != "admission.k8s.io/v1" || &*envelope.kind != "AdmissionReview" {
        return Err(InvalidReview::Version {
            api_version: envelope.api_version.0.into_owned(),
            kind: envelope.kind.0.into_owned(),
        });
    }
    let request = envelope.request.ok_or(InvalidReview::NoRequest)?;
    if &*request.kind.kind != "Pod" {
        return Err(InvalidReview::NotAPod(request.kind.kind.0.into_owned()));
    }
    let namespace = request.namespace.unwrap_or_default();
    for (what, text, most) in [
        ("the uid", &request.uid, LONGEST_UID),
        ("the namespace", &namespace, LONGEST_NAMESPACE),
    ] {
        if text.len() > most {
            return Err(InvalidReview::TooLong { what, most });
        }
    }
    Ok(Review {
        uid: request.uid,
        namespace,
        is_running: request.sub_resource.as_deref() == Some("ephemeralcontainers"),
        dry_run: request.dry_run.unwrap_or(false),
        pod: request.object.ok_or(InvalidReview::NoPod)?,
    })
}

/// How an admission ended: the metric label and the audit annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reference was added and the Secret is fresh.
    Injected,
    /// The pod named the Secret already, and it is fresh.
    AlreadyPresent,
    /// Nothing to do with us.
    Skipped,
    /// The pod goes through, but something is not as it should be.
    Degraded,
}

impl Outcome {
    /// `snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::AlreadyPresent => "already_present",
            Self::Skipped => "skipped",
            Self::Degraded => "degraded",
        }
    }
}

/// What we say about a pod. There is no field that could refuse it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was skipped or degraded, in `snake_case`; empty otherwise.
    pub cause: &'static str,
    /// Base64 of a JSON patch.
    pub patch: Option<&'a str>,
    /// What `kubectl` shows to its user.
    pub warnings: Vec<String>,
}

impl<'a> Answer<'a> {
    /// An answer that changes nothing.
    pub fn skipped(uid: &'a str, cause: &'static str) -> Self {
        Self {
            uid,
            outcome: Outcome::Skipped,
            cause,
            patch: None,
            warnings: Vec::new(),
        }
    }

    /// An answer that warns of causes; the first one names it.
    pub fn degraded(uid: &'a str, patch: Option<&'a str>, causes: &[Cause]) -> Self {
        Self {
            uid,
            outcome: Outcome::Degraded,
            cause: causes.first().map_or("", |cause| cause.name()),
            patch,
            warnings: causes.iter().map(|cause| cause.warning()).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    audit_annotations: AuditAnnotations<'a>,
}

#[derive(Serialize)]
struct AuditAnnotations<'a> {
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cause: &'a str,
}

/// Writes the answer as an `AdmissionReview`.
///
/// # Errors
///
/// None in practice: every field is text.
pub fn encode(answer: &Answer<'_>) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(
        &mut bytes,
        &Reply {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: Response {
                uid: answer.uid,
                allowed: true,
                patch_type: answer.patch.map(|_| "JSONPatch"),
                patch: answer.patch,
                warnings: &answer.warnings,
                audit_annotations: AuditAnnotations {
                    outcome: answer.outcome.name(),
                    cause: answer.cause,
                },
            },
        },
    )?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
