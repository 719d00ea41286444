//! What of each answer of the API server is kept: the fields that this program reads, each bounded in
//! bytes.
//!
//! Pods, ServiceAccounts, namespaces, pull Secrets and Events are in a tenant's hands. A field of
//! them that is not listed here never arrives: a reader of a new field adds it to its kind.

mod parts;
mod pod;

use std::sync::Arc;

use ecr_pull_secrets_core::pull_secret::{DATA_KEY, LEGACY_DATA_KEY, MANAGED_BY, annotation};
use ecr_pull_secrets_core::sieve::Keep;
use http::header::ACCEPT;
use http::{HeaderMap, Uri};

pub(super) use self::parts::LIST_END;
use self::parts::{
    MESSAGE_BYTES, NAME_BYTES, WORD_BYTES, each, fields, item, metadata, metadata_with, references,
};
use self::pod::pod;

/// The annotation of a ServiceAccount whose pods may name only the Secrets that it lists.
pub(super) const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// All fields with our prefix: our labels and annotations.
const OURS: &str = "ecr-pull-secrets.dev/*";

/// The longest answer about an object that no tenant writes, in bytes. Our own Secrets have at most
/// 1 MiB, which base64 makes 1.4.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Bytes for the containers, volumes, owners and states of a pod. With 40 containers a pod takes 8 KiB.
const POD_ROOM: usize = 32 * 1024;
/// Bytes for the field managers of a Secret, its annotations with our prefix that this version does
/// not know, and the other keys of its content.
const SECRET_ROOM: usize = 32 * 1024;
/// Bytes for the labels of a namespace.
const NAMESPACE_ROOM: usize = 16 * 1024;
/// Bytes for what a ServiceAccount lists: only our names are kept.
const ACCOUNT_ROOM: usize = 4 * 1024;
/// Bytes for the causes of a refusal.
const REFUSAL_ROOM: usize = 8 * 1024;

/// The hosts of 100 registries, or their lifetimes.
const LIST_BYTES: usize = 16 * 1024;
/// The identities of 100 registries.
const IDENTITIES_BYTES: usize = 64 * 1024;
/// The longest content of a Secret, 1 MiB, as base64 in quotes.
const CONTENT_BYTES: usize = 4 * 1024 * 1024 / 3 + 16;

/// What is kept of one answer.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// These fields.
    Sifted(Arc<Keep>),
    /// All of it, if it has at most this many bytes.
    AtMost(usize),
    /// All of it: a watch of objects that no tenant writes.
    All,
}

/// A kind in the three shapes of an answer.
struct View {
    object: Arc<Keep>,
    list: Arc<Keep>,
    watch: Arc<Keep>,
}

/// What is kept of the answers about each kind.
pub(super) struct Views {
    pods: View,
    service_accounts: View,
    namespaces: View,
    /// By the core API.
    events: View,
    /// By events.k8s.io.
    own_events: View,
    /// Metadata alone.
    secrets: View,
    /// With the content.
    pull_secrets: View,
    pull_secret_names: Vec<String>,
    refusal: Arc<Keep>,
}

impl Views {
    /// For pull Secrets of these names.
    pub(super) fn new(pull_secret_names: &[String]) -> Self {
        Self {
            pods: View::of(pod(pull_secret_names), POD_ROOM),
            service_accounts: View::of(service_account(pull_secret_names), ACCOUNT_ROOM),
            namespaces: View::of(vec![("metadata", namespace_metadata())], NAMESPACE_ROOM),
            events: View::of(event(), 0),
            own_events: View::of(own_event(), 0),
            secrets: View::of(vec![("metadata", secret_metadata())], SECRET_ROOM),
            pull_secrets: View::of(pull_secret(), SECRET_ROOM),
            pull_secret_names: pull_secret_names.to_vec(),
            refusal: item(refusal(), REFUSAL_ROOM),
        }
    }

    /// What is kept of the answer to a request.
    pub(super) fn of(&self, uri: &Uri, headers: &HeaderMap) -> Kept {
        let query = uri.query().unwrap_or_default();
        let is_watch = query.split('&').any(|pair| pair == "watch=true");
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let is_metadata = accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
        let (resource, name) = resource_of(uri.path());
        let is_pull_secret = |name: &str| {
            self.pull_secret_names
                .iter()
                .any(|pull| pull.as_str() == name)
        };
        let view = match resource {
            "pods" => &self.pods,
            "serviceaccounts" => &self.service_accounts,
            "namespaces" => &self.namespaces,
            "events" if uri.path().starts_with("/api/") => &self.events,
            "events" => &self.own_events,
            "secrets" if is_metadata => &self.secrets,
            "secrets" if name.is_some_and(is_pull_secret) => &self.pull_secrets,
            _ if is_watch => return Kept::All,
            _ => return Kept::AtMost(MAX_ANSWER_BYTES),
        };
        Kept::Sifted(match name {
            _ if is_watch => view.watch.clone(),
            Some(_) => view.object.clone(),
            None => view.list.clone(),
        })
    }

    /// What is kept of a refusal in JSON.
    pub(super) fn of_refusal(&self) -> Kept {
        Kept::Sifted(self.refusal.clone())
    }
}

impl View {
    /// The view of an object with these fields. The answer may also be a `Status`, or a bookmark.
    fn of(own: Vec<(&'static str, Keep)>, room: usize) -> Self {
        let mut all = own;
        let named: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let more = status()
            .into_iter()
            .filter(|(name, _)| !named.contains(name));
        let more: Vec<_> = more.collect();
        all.extend(more);
        let object = item(all, room);
        let list = fields(vec![
            ("apiVersion", Keep::Whole(WORD_BYTES)),
            ("kind", Keep::Whole(WORD_BYTES)),
            (
                "metadata",
                fields(vec![
                    ("resourceVersion", Keep::Whole(WORD_BYTES)),
                    ("continue", Keep::Whole(MESSAGE_BYTES)),
                ]),
            ),
            ("items", Keep::Each(object.clone())),
        ]);
        let watch = Keep::Fields(vec![
            ("type", Arc::new(Keep::Whole(WORD_BYTES))),
            ("object", object.clone()),
        ]);
        Self {
            object,
            list: Arc::new(list),
            watch: Arc::new(watch),
        }
    }
}

/// The resource of a path, and the name of its object, if it has one.
fn resource_of(path: &str) -> (&str, Option<&str>) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // `/api/VERSION/…` or `/apis/GROUP/VERSION/…`.
    let skipped = match parts.next() {
        Some("api") => 0,
        Some("apis") => 1,
        _ => return ("", None),
    };
    let rest: Vec<&str> = parts.skip(skipped + 1).collect();
    match rest.as_slice() {
        ["namespaces", _, resource, name @ ..] => (resource, name.first().copied()),
        [resource, name @ ..] => (resource, name.first().copied()),
        [] => ("", None),
    }
}

/// A refusal, with the token of a list that outlived its own.
fn refusal() -> Vec<(&'static str, Keep)> {
    let mut all = status();
    let token = fields(vec![("continue", Keep::Whole(MESSAGE_BYTES))]);
    all.push(("metadata", token));
    all
}

/// What a refusal says; also in place of an object, and in a watch.
fn status() -> Vec<(&'static str, Keep)> {
    vec![
        ("apiVersion", Keep::Whole(WORD_BYTES)),
        ("kind", Keep::Whole(WORD_BYTES)),
        ("status", Keep::Whole(WORD_BYTES)),
        ("message", Keep::Whole(MESSAGE_BYTES)),
        ("reason", Keep::Whole(WORD_BYTES)),
        ("code", Keep::Whole(WORD_BYTES)),
        (
            "details",
            fields(vec![
                ("name", Keep::Whole(NAME_BYTES)),
                ("group", Keep::Whole(NAME_BYTES)),
                ("kind", Keep::Whole(WORD_BYTES)),
                ("uid", Keep::Whole(WORD_BYTES)),
                (
                    "causes",
                    each(vec![
                        ("reason", Keep::Whole(WORD_BYTES)),
                        ("message", Keep::Whole(MESSAGE_BYTES)),
                        ("field", Keep::Whole(NAME_BYTES)),
                    ]),
                ),
            ]),
        ),
    ]
}

/// An Event of a kubelet: which pod it is about.
fn event() -> Vec<(&'static str, Keep)> {
    let object = vec![
        ("kind", Keep::Whole(WORD_BYTES)),
        ("name", Keep::Whole(NAME_BYTES)),
        ("uid", Keep::Whole(WORD_BYTES)),
    ];
    vec![
        ("metadata", fields(metadata())),
        ("involvedObject", fields(object)),
    ]
}

/// An Event of ours: how often and when it was observed.
fn own_event() -> Vec<(&'static str, Keep)> {
    let series = vec![
        ("count", Keep::Whole(WORD_BYTES)),
        ("lastObservedTime", Keep::Whole(WORD_BYTES)),
    ];
    vec![
        ("metadata", fields(metadata())),
        ("eventTime", Keep::Whole(WORD_BYTES)),
        ("series", fields(series)),
    ]
}

fn namespace_metadata() -> Keep {
    let labels = vec![
        ("ecr-pull-secrets.dev/inject", Keep::Whole(WORD_BYTES)),
        ("*", Keep::Whole(WORD_BYTES)),
    ];
    let annotations = vec![(OURS, Keep::Whole(WORD_BYTES))];
    metadata_with(labels, annotations, Vec::new())
}

fn service_account(pull_secrets: &[String]) -> Vec<(&'static str, Keep)> {
    let annotations = vec![(ENFORCE, Keep::Whole(WORD_BYTES))];
    vec![
        (
            "metadata",
            metadata_with(Vec::new(), annotations, Vec::new()),
        ),
        ("secrets", references(pull_secrets)),
        ("imagePullSecrets", references(pull_secrets)),
    ]
}

fn secret_metadata() -> Keep {
    let list = [annotation::REGISTRIES, annotation::LIFETIMES];
    let mut annotations = vec![
        (annotation::IDENTITY, Keep::Whole(IDENTITIES_BYTES)),
        // It holds a token.
        (annotation::LAST_APPLIED, Keep::Presence),
    ];
    annotations.extend(list.map(|name| (name, Keep::Whole(LIST_BYTES))));
    let word = [
        annotation::EXPIRES_AT,
        annotation::FINGERPRINT,
        annotation::EXCLUSIVE,
        annotation::UNUSED_SINCE,
        annotation::FORMAT,
        annotation::ADOPT,
        OURS,
    ];
    annotations.extend(word.map(|name| (name, Keep::Whole(WORD_BYTES))));
    metadata_with(
        vec![(MANAGED_BY, Keep::Whole(WORD_BYTES))],
        annotations,
        vec![("managedFields", field_managers())],
    )
}

/// The field managers that own the content, or one of the annotations that describe it.
fn field_managers() -> Keep {
    let described = [
        "f:ecr-pull-secrets.dev/registries",
        "f:ecr-pull-secrets.dev/lifetimes",
        "f:ecr-pull-secrets.dev/identity",
        "f:ecr-pull-secrets.dev/exclusive",
        "f:ecr-pull-secrets.dev/format",
    ];
    let described = described.map(|name| (name, Keep::Presence));
    let content = vec![("f:.dockerconfigjson", Keep::Presence)];
    each(vec![
        ("manager", Keep::Beside(NAME_BYTES)),
        (
            "fieldsV1",
            fields(vec![
                (
                    "f:metadata",
                    fields(vec![("f:annotations", fields(described.into()))]),
                ),
                ("f:data", fields(content)),
            ]),
        ),
    ])
}

fn pull_secret() -> Vec<(&'static str, Keep)> {
    let content = vec![
        (DATA_KEY, Keep::Whole(CONTENT_BYTES)),
        (LEGACY_DATA_KEY, Keep::Whole(CONTENT_BYTES)),
        ("*", Keep::Presence), // Other keys decide about an adoption.
    ];
    vec![
        ("metadata", secret_metadata()),
        ("type", Keep::Whole(NAME_BYTES)),
        ("immutable", Keep::Whole(WORD_BYTES)),
        ("data", fields(content)),
    ]
}

#[cfg(test)]
mod tests;
