//! The parts of which views are made.

use std::sync::Arc;

use ecr_pull_secrets_core::sieve::Keep;

/// An annotation of the bookmark that ends a streamed list.
pub(in crate::cluster) const LIST_END: &str = "k8s.io/initial-events-end";
/// The longest image that can be ECR's is some 600 bytes.
pub(super) const IMAGE_BYTES: usize = 1024;
/// A word of Kubernetes: a phase, a reason, a time, a uid.
pub(super) const WORD_BYTES: usize = 128;
/// A name of Kubernetes has at most 253 bytes.
pub(super) const NAME_BYTES: usize = 320;
/// What the kubelet or the API server says.
pub(super) const MESSAGE_BYTES: usize = 8 * 1024;
pub(super) fn fields(fields: Vec<(&'static str, Keep)>) -> Keep {
    let fields = fields.into_iter();
    Keep::Fields(fields.map(|(name, keep)| (name, Arc::new(keep))).collect())
}

pub(super) fn item(all: Vec<(&'static str, Keep)>, room: usize) -> Arc<Keep> {
    Arc::new(Keep::Item(Arc::new(fields(all)), room))
}

pub(super) fn each(element: Vec<(&'static str, Keep)>) -> Keep {
    Keep::Each(Arc::new(fields(element)))
}

pub(super) fn metadata() -> Vec<(&'static str, Keep)> {
    vec![
        ("name", Keep::Whole(NAME_BYTES)),
        ("namespace", Keep::Whole(WORD_BYTES)),
        ("uid", Keep::Whole(WORD_BYTES)),
        ("resourceVersion", Keep::Whole(WORD_BYTES)),
        ("creationTimestamp", Keep::Whole(WORD_BYTES)),
        ("deletionTimestamp", Keep::Whole(WORD_BYTES)),
    ]
}

pub(super) fn metadata_with(
    labels: Vec<(&'static str, Keep)>,
    annotations: Vec<(&'static str, Keep)>,
    more: Vec<(&'static str, Keep)>,
) -> Keep {
    let mut annotations = annotations;
    annotations.push((LIST_END, Keep::Whole(WORD_BYTES)));
    let mut all = metadata();
    all.push(("labels", fields(labels)));
    all.push(("annotations", fields(annotations)));
    all.extend(more);
    fields(all)
}

/// A list of references to Secrets, of which only ours are kept.
pub(super) fn references(pull_secrets: &[String]) -> Keep {
    each(vec![("name", Keep::OneOf(pull_secrets.to_vec()))])
}
