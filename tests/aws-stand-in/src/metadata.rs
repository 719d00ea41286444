//! Container credentials and instance metadata: what EKS Pod Identity, ECS and EC2 serve on a node.
//!
//! Each gives a session of the default user. The name in the path takes the part of the region, for faults and counts.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use serde_json::json;

use crate::{
    DEFAULT_ACCESS_KEY_ID,
    calls::CallKey,
    clock, encoding,
    faults::Subject,
    hostile,
    identity::Key,
    spec::{Action, HostileAnswer},
    state::{Shared, State as Everything},
    wire::{ApiError, Protocol, answer},
};

const ROLE: &str = "puller";
const SESSION_SECONDS: i64 = 6 * 3600;
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// `GET /credentials/NAME`: requires an `Authorization` header. EKS Pod Identity refuses an empty one with 400.
pub(crate) async fn container(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    parts: Parts,
) -> Response {
    let mut state = shared.lock();
    let token = parts.headers.get(header::AUTHORIZATION);
    let Some(token) = token.and_then(|token| token.to_str().ok()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if token.is_empty() {
        return (
            StatusCode::BAD_REQUEST,
            "Service account token cannot be empty",
        )
            .into_response();
    }
    state.secrets.web_identity_tokens.push(token.to_owned());
    serve(
        &mut state,
        &name,
        Action::ContainerCredentials,
        &parts,
        credentials,
    )
}

/// `PUT /metadata/NAME/latest/api/token`.
pub(crate) async fn token(State(shared): State<Shared>) -> Response {
    let token = encoding::random(42).map(|random| format!("AQAE{}", encoding::base64(random)));
    let Ok(token) = token else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    shared.lock().secrets.session_tokens.push(token.clone());
    ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], token).into_response()
}

/// `GET …/iam/security-credentials/`: the name of the role.
pub(crate) async fn role(parts: Parts) -> Response {
    if !parts.headers.contains_key(TOKEN_HEADER) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    ROLE.into_response()
}

/// `GET …/iam/security-credentials/ROLE`: its credentials.
pub(crate) async fn instance(
    State(shared): State<Shared>,
    Path((name, _role)): Path<(String, String)>,
    parts: Parts,
) -> Response {
    if !parts.headers.contains_key(TOKEN_HEADER) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut state = shared.lock();
    serve(
        &mut state,
        &name,
        Action::InstanceMetadata,
        &parts,
        credentials,
    )
}

fn serve(
    state: &mut Everything,
    name: &str,
    action: Action,
    parts: &Parts,
    body: fn(&mut Everything) -> Result<String, ApiError>,
) -> Response {
    let key = CallKey {
        principal: "unknown".to_owned(),
        region: name.to_owned(),
        action: action.name().to_owned(),
    };
    state.calls.arrived(&key);
    let subject = Subject {
        region: name,
        principal: None,
        action,
    };
    let effects = state.faults.apply(subject);
    let body = if effects.empty {
        Ok(empty())
    } else {
        body(state)
    };
    state.calls.ended(&key, body.is_ok());
    match (body, effects.hostile) {
        (Err(error), _) => error.into_response(Protocol::Json),
        (Ok(body), None) => answer(Protocol::Json, StatusCode::OK, body),
        // Both services refuse with a success whose content is an error.
        (Ok(body), Some(HostileAnswer::Quoting)) => {
            let request = hostile::quoted(parts, &[]);
            let message = format!("You sent {request} and would have got {body}");
            let refusal = json!({ "Code": "AccessDenied", "Message": message });
            answer(Protocol::Json, StatusCode::OK, refusal.to_string())
        }
        (Ok(body), Some(kind)) => hostile::answer(kind, Protocol::Json, &body, ""),
    }
}

/// What an imitation of the metadata service serves that has no keys yet: a success, with an expiry in the year 1.
fn empty() -> String {
    json!({
        "Code": "Success",
        "LastUpdated": "0001-01-01T00:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "",
        "SecretAccessKey": "",
        "Token": "",
        "Expiration": "0001-01-01T00:00:00Z",
    })
    .to_string()
}

/// A new session of the default user.
fn credentials(state: &mut Everything) -> Result<String, ApiError> {
    let access_key_id = encoding::random_id("ASIA", 16)?;
    let secret = encoding::base64(encoding::random(30)?);
    let session_token = format!(
        "IQoJb3JpZ2luX2Vj{}",
        encoding::base64(encoding::random(700)?)
    );
    let now = state.now("");
    let expires = clock::after(now, SESSION_SECONDS);
    let user = state
        .identities
        .key(DEFAULT_ACCESS_KEY_ID)
        .ok_or_else(|| ApiError::new(500, "ServerException", "the default user was removed"))?;
    let key = Key {
        secret: secret.clone(),
        session_token: Some(session_token.clone()),
        expires: Some(expires),
        principal: user.principal.clone(),
    };
    state.identities.put_session(access_key_id.clone(), key);
    state.secrets.access_key_ids.push(access_key_id.clone());
    state.secrets.secret_access_keys.push(secret.clone());
    state.secrets.session_tokens.push(session_token.clone());
    let answer = json!({
        "Code": "Success",
        "LastUpdated": clock::iso8601(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "Token": session_token,
        "Expiration": clock::iso8601(expires),
    });
    Ok(answer.to_string())
}
