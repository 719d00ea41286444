//! The registry that a pull names, and whether the credential opens it. Messages and statuses are those of ECR.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde_json::json;

use crate::{
    EcrHost, encoding,
    spec::{VERDICT_HEADER, Verdict},
    state::State,
    token::Token,
};

/// A refusal of the registry.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct RegistryError {
    pub(crate) verdict: Verdict,
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl RegistryError {
    pub(crate) fn new(
        verdict: Verdict,
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            verdict,
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The answer; the challenge names `host`.
    pub(crate) fn into_response(self, host: &str) -> Response {
        let mut response = if self.verdict == Verdict::Unauthenticated {
            let challenge =
                format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\"");
            let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static(
                "Basic service=\"ecr.amazonaws.com\"",
            ));
            (
                self.status,
                [(header::WWW_AUTHENTICATE, challenge)],
                "Not Authorized\n",
            )
                .into_response()
        } else {
            let body = json!({"errors": [{"code": self.code, "message": self.message}]});
            (self.status, Json(body)).into_response()
        };
        describe(&mut response, self.verdict);
        response
    }
}

/// Adds the headers that every answer of the registry carries.
pub(crate) fn describe(response: &mut Response, verdict: Verdict) {
    const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    let name = json!(verdict);
    if let Some(Ok(name)) = name.as_str().map(HeaderValue::from_str) {
        response.headers_mut().insert(VERDICT_HEADER, name);
    }
}

/// The registry of a request: its `Host`, else the `ns` that containerd sends to mirrors, else `X-Registry-Host`.
/// The text is the host as named there, for the challenge.
pub(crate) fn registry(uri: &Uri, headers: &HeaderMap) -> (Option<EcrHost>, String) {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let namespace = uri.query().and_then(|query| {
        encoding::form_fields(query)
            .into_iter()
            .find(|(key, _)| key == "ns")
            .map(|(_, value)| value)
    });
    let host = header("host").unwrap_or_default();
    let candidates = [Some(host.clone()), namespace, header("x-registry-host")];
    candidates
        .into_iter()
        .flatten()
        .find_map(|candidate| Some((Some(EcrHost::parse(&candidate)?), candidate)))
        .unwrap_or((None, host))
}

/// The password of `Basic AWS:PASSWORD`.
pub(crate) fn password(headers: &HeaderMap) -> Result<String, RegistryError> {
    let unauthenticated = || {
        RegistryError::new(
            Verdict::Unauthenticated,
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "Not Authorized",
        )
    };
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(unauthenticated)?;
    let (scheme, credentials) = value.split_once(' ').ok_or_else(unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unauthenticated());
    }
    encoding::base64_decode(credentials.trim())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .and_then(|decoded| decoded.strip_prefix("AWS:").map(str::to_owned))
        .ok_or_else(invalid)
}

/// The token of the password, if it opens the registries of `region` now.
pub(crate) fn token<'a>(
    state: &'a State,
    password: &str,
    region: &str,
) -> Result<&'a Token, RegistryError> {
    let token = state.tokens.find(password).ok_or_else(invalid)?;
    // Another region cannot decrypt the token; ECR then answers the same as for an expired token.
    let verdict = if token.region != region {
        Verdict::WrongRegion
    } else if token.expires <= state.now(region) {
        Verdict::Expired
    } else {
        return Ok(token);
    };
    let message = "Your authorization token has expired. Reauthenticate and try again.";
    Err(RegistryError::new(
        verdict,
        StatusCode::FORBIDDEN,
        "DENIED",
        message,
    ))
}

fn invalid() -> RegistryError {
    // ECR answers 400, not 401, to credentials that it cannot read.
    let message = "Your Authorization Token is invalid.";
    RegistryError::new(
        Verdict::InvalidToken,
        StatusCode::BAD_REQUEST,
        "DENIED",
        message,
    )
}
