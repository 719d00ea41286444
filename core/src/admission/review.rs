//! Bytes to a review, and a plan to the bytes of an answer. No other file does either.
//!
//! [`decode`] reads `admission.k8s.io/v1` and nothing else. Other bytes are an [`InvalidReview`]:
//! the HTTP status is 4xx then, and the API server applies its `failurePolicy`. [`encode`] has no
//! way to write `allowed: false`.

use serde::{Deserialize, Serialize};

use super::patch::Patches;
use crate::names::MAX_LABEL_BYTES;
use crate::workload::object::{Object, object};
use crate::workload::plan::{Plan, PullReference, Workload};
use crate::workload::pod::Pod;
use crate::workload::text::Text;

/// Bytes that are no review of a pod.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReview {
    /// Not JSON, or not of the shape. The text quotes the beginning of what is wrong.
    #[error("cannot read the admission review: {0}")]
    Json(String),
    /// Another API version or kind.
    #[error("expected an AdmissionReview of admission.k8s.io/v1, got {kind} of {api_version}")]
    Version {
        /// The `apiVersion` of the request.
        api_version: String,
        /// The `kind` of the request.
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
    /// A text that no API server sends. The answer would echo it, or the ledger keep it.
    #[error("{what} of the admission request has more than {most} bytes")]
    TooLong {
        /// The field.
        what: &'static str,
        /// The limit in bytes.
        most: usize,
    },
}

/// The longest uid, in bytes; those of the API server have 36.
const MAX_UID_BYTES: usize = 128;
/// The longest text of a request that an error quotes, in bytes.
const MAX_QUOTED_BYTES: usize = 256;

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
    kind: ObjectKind<'a>,
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
struct ObjectKind<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
}

/// A request to admit a pod.
#[derive(Debug)]
pub struct Review<'a> {
    /// The uid of the request, which the answer echoes.
    pub uid: Text<'a>,
    /// The namespace of the request. The object's own may be empty.
    pub namespace: Text<'a>,
    /// Whether the pod runs and gets an ephemeral container: its references cannot change then.
    pub is_running: bool,
    /// Whether the request may have no side effect.
    pub dry_run: bool,
    /// The pod of the request.
    pub pod: Pod<'a>,
}

impl Review<'_> {
    /// The same review, borrowed from nothing: its bytes, of up to 7 MiB, can be freed while it waits.
    pub fn into_owned(self) -> Review<'static> {
        Review {
            uid: self.uid.into_owned(),
            namespace: self.namespace.into_owned(),
            is_running: self.is_running,
            dry_run: self.dry_run,
            pod: self.pod.into_owned(),
        }
    }

    /// What the plan decides about.
    pub fn workload(&self) -> Workload<'_> {
        Workload {
            namespace: &self.namespace,
            pod: &self.pod,
            is_running: self.is_running,
        }
    }
}

/// Reads a review.
///
/// # Errors
///
/// [`InvalidReview`] says why the bytes are no review of a pod.
pub fn decode(bytes: &[u8]) -> Result<Review<'_>, InvalidReview> {
    let Object(envelope): Object<Envelope<'_>> = serde_json::from_slice(bytes)
        .map_err(|error| InvalidReview::Json(quoted(&error.to_string())))?;
    if &*envelope.api_version != "admission.k8s.io/v1" || &*envelope.kind != "AdmissionReview" {
        return Err(InvalidReview::Version {
            api_version: quoted(&envelope.api_version),
            kind: quoted(&envelope.kind),
        });
    }
    let request = envelope.request.ok_or(InvalidReview::NoRequest)?;
    if &*request.kind.kind != "Pod" {
        return Err(InvalidReview::NotAPod(quoted(&request.kind.kind)));
    }
    let namespace = request.namespace.unwrap_or_default();
    for (what, text, most) in [
        ("the uid", &request.uid, MAX_UID_BYTES),
        ("the namespace", &namespace, MAX_LABEL_BYTES),
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

/// The beginning of a text of a request, which may have 7 MiB.
fn quoted(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_QUOTED_BYTES)].to_owned()
}

/// How an admission ended: the metric label and the audit annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reference was added and the Secret is fresh.
    Injected,
    /// The pod named the Secret before, and the Secret is fresh.
    AlreadyPresent,
    /// The pod needs nothing.
    Skipped,
    /// The pod is admitted with a warning.
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

/// The answer to a review. No field of it can refuse the pod.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// How the admission ended.
    pub outcome: Outcome,
    /// Why the pod was skipped or the answer degraded, in `snake_case`; empty otherwise.
    pub cause: &'static str,
    /// A JSON patch as base64.
    pub patch: Option<&'a str>,
    /// The lines that `kubectl` prints.
    pub warnings: Vec<String>,
}

impl<'a> Answer<'a> {
    /// The answer that carries out a plan. It warns of every cause and is named after the first.
    pub fn of_plan(uid: &'a str, plan: &Plan, patches: &'a Patches) -> Self {
        let outcome = match (plan.skip, &plan.causes[..], plan.reference) {
            (Some(_), _, _) => Outcome::Skipped,
            (None, [], PullReference::Named) => Outcome::AlreadyPresent,
            (None, [], PullReference::Create | PullReference::Append) => Outcome::Injected,
            (None, [], PullReference::Withheld) | (None, [_, ..], _) => Outcome::Degraded,
        };
        let skip = plan.skip.map(|skip| skip.name());
        let first = plan.causes.first().map(|cause| cause.name());
        Self {
            uid,
            outcome,
            cause: skip.or(first).unwrap_or_default(),
            patch: patches.adding(plan.reference),
            warnings: plan.causes.iter().map(|cause| cause.warning()).collect(),
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
