//! The registry under `/v2/`: read-only, and only with a token of `GetAuthorizationToken`.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tokio::time::sleep;

use crate::{
    EcrHost,
    faults::{Effects, Subject},
    identity::Principal,
    oci_layout::Repository,
    registry_auth::{RegistryError, describe, password, registry, token},
    server::Reset,
    spec::{Action, Fault, Verdict},
    state::{Shared, State as Everything},
};

/// The requested object of a repository.
struct Wanted<'a> {
    repository: &'a str,
    kind: Kind,
    /// A tag or a digest.
    reference: &'a str,
}

#[derive(Clone, Copy)]
enum Kind {
    Manifest,
    Blob,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Manifest => "ecr:BatchGetImage",
            Self::Blob => "ecr:GetDownloadUrlForLayer",
        }
    }
}

/// `GET /v2/`: whether the credential is valid.
pub(crate) async fn ping(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let (registry, host) = registry(&uri, &headers);
    let result = registry.ok_or_else(no_registry).and_then(|registry| {
        let password = password(&headers)?;
        token(&shared.lock(), &password, &registry.region).map(drop)
    });
    match result {
        Ok(()) => {
            let mut response = StatusCode::OK.into_response();
            describe(&mut response, Verdict::Accepted);
            response
        }
        Err(error) => error.into_response(&host),
    }
}

/// `GET` and `HEAD` of manifests and blobs.
pub(crate) async fn object(
    State(shared): State<Shared>,
    Extension(reset): Extension<Reset>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let (registry, host) = registry(&uri, &headers);
    let Some(wanted) = Wanted::parse(&path) else {
        let message = "only manifests and blobs can be read here";
        return RegistryError::new(
            Verdict::NameUnknown,
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            message,
        )
        .into_response(&host);
    };
    let Some(registry) = registry else {
        return no_registry().into_response(&host);
    };

    let effects = effects(&mut shared.lock(), &registry, &headers);
    sleep(Duration::from_millis(effects.delay_milliseconds)).await;
    let record = |verdict| {
        shared
            .lock()
            .calls
            .pulled(&registry, wanted.repository, wanted.kind.name(), verdict);
    };
    match effects.transport {
        Some(Fault::Hang) => {
            record(Verdict::Faulted);
            match std::future::pending::<Infallible>().await {}
        }
        Some(_) => {
            record(Verdict::Faulted);
            match reset.now().await {}
        }
        None => {}
    }

    let result = open(&shared.lock(), &registry, &wanted, &headers, &effects);
    let result = result.and_then(|repository| wanted.read(&repository, &headers));
    match result {
        Ok(mut response) => {
            record(Verdict::Accepted);
            describe(&mut response, Verdict::Accepted);
            response
        }
        Err(error) => {
            record(error.verdict);
            error.into_response(&host)
        }
    }
}

fn effects(state: &mut Everything, registry: &EcrHost, headers: &HeaderMap) -> Effects {
    // Found without a check, because a fault for a principal also applies to its expired tokens.
    let principal: Option<Principal> = password(headers)
        .ok()
        .and_then(|password| Some(state.tokens.find(&password)?.principal.clone()));
    let subject = Subject {
        region: &registry.region,
        principal: principal.as_ref(),
        action: Action::Pull,
    };
    state.faults.apply(subject)
}

/// The repository, if it exists and the caller may read it.
fn open(
    state: &Everything,
    registry: &EcrHost,
    wanted: &Wanted<'_>,
    headers: &HeaderMap,
    effects: &Effects,
) -> Result<Repository, RegistryError> {
    let token = token(state, &password(headers)?, &registry.region)?;
    if let Some(fault) = &effects.refusal {
        return Err(fault_error(fault));
    }
    let Wanted {
        repository,
        kind,
        reference,
    } = *wanted;
    state
        .policies
        .check_pull(&token.principal, registry, repository, kind.action())
        .map_err(|message| {
            RegistryError::new(Verdict::Denied, StatusCode::FORBIDDEN, "DENIED", message)
        })?;
    if state.is_absent(&registry.region, repository, None) {
        let message = format!(
            "The repository with name '{repository}' does not exist in the registry with id '{}'",
            registry.account
        );
        return Err(RegistryError::new(
            Verdict::NameUnknown,
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            message,
        ));
    }
    if state.is_absent(&registry.region, repository, Some(reference)) {
        return Err(manifest_unknown());
    }
    state.images.open(repository).map_err(|error| {
        let message = format!("cannot generate an image for {repository}: {error}");
        RegistryError::new(
            Verdict::Faulted,
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            message,
        )
    })
}

impl<'a> Wanted<'a> {
    /// `NAME/manifests/REFERENCE` or `NAME/blobs/DIGEST`; the name may hold slashes.
    fn parse(path: &'a str) -> Option<Self> {
        let (rest, reference) = path.rsplit_once('/')?;
        let (repository, kind) = match rest.rsplit_once('/')? {
            (repository, "manifests") => (repository, Kind::Manifest),
            (repository, "blobs") => (repository, Kind::Blob),
            _ => return None,
        };
        (!repository.is_empty()).then_some(Self {
            repository,
            kind,
            reference,
        })
    }

    fn read(
        &self,
        repository: &Repository,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        match self.kind {
            Kind::Manifest => {
                let manifest = repository
                    .manifest(self.reference)
                    .ok_or_else(manifest_unknown)?;
                let media_type = HeaderValue::from_str(&manifest.media_type).ok();
                let mut response = (StatusCode::OK, manifest.bytes).into_response();
                if let Some(media_type) = media_type {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_TYPE, media_type);
                }
                digest_header(&mut response, &manifest.digest);
                Ok(response)
            }
            Kind::Blob => {
                let bytes = repository.blob(self.reference).ok_or_else(|| {
                    let message = "blob unknown to registry";
                    RegistryError::new(
                        Verdict::BlobUnknown,
                        StatusCode::NOT_FOUND,
                        "BLOB_UNKNOWN",
                        message,
                    )
                })?;
                let range = headers
                    .get(header::RANGE)
                    .and_then(|range| range.to_str().ok());
                let mut response = ranged(bytes, range);
                digest_header(&mut response, self.reference);
                Ok(response)
            }
        }
    }
}

fn digest_header(response: &mut Response, digest: &str) {
    if let Ok(digest) = HeaderValue::from_str(digest) {
        response
            .headers_mut()
            .insert("docker-content-digest", digest);
    }
}

/// The whole blob, or the one range requested. Several ranges are answered with the whole blob, as HTTP allows.
fn ranged(bytes: Bytes, range: Option<&str>) -> Response {
    const TYPE: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/octet-stream");
    let accepts = (header::ACCEPT_RANGES, "bytes");
    let length = bytes.len();
    let asked = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (start, end) = match asked {
        None => return (StatusCode::OK, [TYPE, accepts], bytes).into_response(),
        Some(("", last)) => (
            last.parse()
                .ok()
                .map(|last: usize| length.saturating_sub(last)),
            Some(length),
        ),
        Some((first, "")) => (first.parse().ok(), Some(length)),
        Some((first, last)) => {
            let last: Option<usize> = last.parse().ok();
            (
                first.parse().ok(),
                last.map(|last| last.saturating_add(1).min(length)),
            )
        }
    };
    match (start, end) {
        (Some(start), Some(end)) if start < end => {
            let content_range = format!("bytes {start}-{}/{length}", end - 1);
            let headers = [TYPE, accepts];
            (
                StatusCode::PARTIAL_CONTENT,
                headers,
                [(header::CONTENT_RANGE, content_range)],
                bytes.slice(start..end),
            )
                .into_response()
        }
        (Some(_), Some(_)) => {
            let content_range = format!("bytes */{length}");
            (
                StatusCode::RANGE_NOT_SATISFIABLE,
                [(header::CONTENT_RANGE, content_range)],
            )
                .into_response()
        }
        _ => (StatusCode::OK, [TYPE, accepts], bytes).into_response(),
    }
}

fn manifest_unknown() -> RegistryError {
    let message = "Requested image not found";
    RegistryError::new(
        Verdict::ManifestUnknown,
        StatusCode::NOT_FOUND,
        "MANIFEST_UNKNOWN",
        message,
    )
}

fn no_registry() -> RegistryError {
    let message = "no ECR registry is named by Host, ?ns= or X-Registry-Host";
    RegistryError::new(
        Verdict::NameUnknown,
        StatusCode::NOT_FOUND,
        "NAME_UNKNOWN",
        message,
    )
}

fn fault_error(fault: &Fault) -> RegistryError {
    match fault {
        Fault::Error {
            code,
            status,
            message,
        } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            RegistryError::new(Verdict::Faulted, status, code, message.as_str())
        }
        _ => RegistryError::new(
            Verdict::Faulted,
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "Rate exceeded",
        ),
    }
}
