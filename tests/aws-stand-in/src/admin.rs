//! The calls of the admin API with which tests set something.
//!
//! | call | body or query | effect |
//! |---|---|---|
//! | `PUT /admin/faults` | [`spec::FaultRule`] | adds a fault |
//! | `GET /admin/faults` | | lists the faults |
//! | `DELETE /admin/faults` | `?region= &principal= &action=` | removes the faults with exactly these; without a query, all |
//! | `PUT /admin/clock` | [`spec::Clock`] | moves the clock |
//! | `PUT /admin/principals` | [`spec::User`] | adds a user |
//! | `GET /admin/principals` | | lists users and sessions, without secrets |
//! | `PUT`, `GET /admin/roles` | [`spec::Role`] | adds a role; lists the roles |
//! | `PUT`, `GET /admin/oidc-providers` | [`spec::OidcProvider`] | adds a provider; lists the providers |
//! | `DELETE /admin/oidc-providers` | `?account= &issuer=` | removes the provider |
//! | `PUT`, `GET /admin/policy` | [`spec::Policy`] | sets a policy; lists the policies |
//! | `DELETE /admin/policy` | `?principal= &region=` | removes the policy with exactly these |
//! | `PUT`, `GET`, `DELETE /admin/absent` | [`spec::Absent`] | removes a repository or tag; lists those removed; restores it |
//! | `POST /admin/images` | `?repository= &tag=`, a tar | uploads an OCI image layout, answers `{"digest"}` |
//! | `POST /admin/expire` | [`spec::Expire`] | expires tokens and sessions now |
//! | `POST /admin/reset` | | restores the state after start, but keeps the secrets minted so far |
//!
//! `admin_query` has the calls that read counts and secrets. Every error is `{"error": "…"}`. An unknown field or
//! parameter is a 400 that names it.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use http::{StatusCode, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    admin_query, identity,
    spec::{self, Action, Fault},
    state::Shared,
};

/// All routes below `/admin`.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/faults", put(put_fault).get(faults).delete(delete_faults))
        .route("/clock", put(put_clock))
        .route("/principals", put(put_principal).get(principals))
        .route("/roles", put(put_role).get(roles))
        .route(
            "/oidc-providers",
            put(put_provider).get(providers).delete(delete_provider),
        )
        .route(
            "/policy",
            put(put_policy).get(policies).delete(delete_policy),
        )
        .route("/absent", put(put_absent).get(absent).delete(delete_absent))
        .route("/images", post(upload).layer(DefaultBodyLimit::disable()))
        .route("/expire", post(expire))
        .route("/reset", post(reset))
        .merge(admin_query::router())
        .fallback(async || AdminError(StatusCode::NOT_FOUND, "no such admin call".to_owned()))
}

/// An error of the admin API: its status and message.
pub(crate) struct AdminError(StatusCode, String);

impl AdminError {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// A JSON body of any content type, without unknown fields.
struct Strict<T>(T);

impl<T: DeserializeOwned> FromRequest<Shared> for Strict<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, AdminError> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| AdminError::bad(format!("cannot read the body: {error}")))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| AdminError::bad(error.to_string()))
    }
}

/// Query parameters, without unknown ones.
pub(crate) struct StrictQuery<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for StrictQuery<T> {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, AdminError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|error| AdminError::bad(error.body_text()))
    }
}

type Done = Result<StatusCode, AdminError>;
const DONE: Done = Ok(StatusCode::NO_CONTENT);

async fn put_fault(State(shared): State<Shared>, Strict(rule): Strict<spec::FaultRule>) -> Done {
    if let Fault::Error { status, .. } = rule.fault
        && !(400..600).contains(&status)
    {
        return Err(AdminError::bad(format!(
            "status {status} is not an error; use 400 to 599"
        )));
    }
    let answers_a_pull = matches!(
        rule.fault,
        Fault::Delay { .. }
            | Fault::Hang
            | Fault::Reset
            | Fault::Error { .. }
            | Fault::Throttling
            | Fault::ThrottleException
    );
    if rule.action == Some(Action::Pull) && !answers_a_pull {
        return Err(AdminError::bad("a pull cannot have this fault"));
    }
    shared.lock().faults.put(rule);
    DONE
}

async fn faults(State(shared): State<Shared>) -> Json<Vec<spec::FaultRule>> {
    Json(shared.lock().faults.rules().to_vec())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSelector {
    region: Option<String>,
    principal: Option<String>,
    action: Option<Action>,
}

async fn delete_faults(
    State(shared): State<Shared>,
    StrictQuery(selector): StrictQuery<FaultSelector>,
) -> Done {
    let FaultSelector {
        region,
        principal,
        action,
    } = selector;
    shared
        .lock()
        .faults
        .remove(region.as_deref(), principal.as_deref(), action);
    DONE
}

async fn put_clock(State(shared): State<Shared>, Strict(clock): Strict<spec::Clock>) -> Done {
    let mut state = shared.lock();
    match clock.region {
        Some(region) => _ = state.clocks.regions.insert(region, clock.offset_seconds),
        None => state.clocks.global = clock.offset_seconds,
    }
    DONE
}

async fn put_principal(State(shared): State<Shared>, Strict(user): Strict<spec::User>) -> Done {
    check_arn(&user.arn, ":user/")?;
    if identity::account_of(&user.arn) != Some(user.account.as_str()) {
        return Err(AdminError::bad(format!(
            "account {} is not the account of {}",
            user.account, user.arn
        )));
    }
    let mut state = shared.lock();
    let secrets = &mut state.secrets;
    secrets.access_key_ids.push(user.access_key_id.clone());
    secrets
        .secret_access_keys
        .push(user.secret_access_key.clone());
    state.identities.put_user(user);
    DONE
}

async fn principals(State(shared): State<Shared>) -> Json<serde_json::Value> {
    let state = shared.lock();
    let described = state
        .identities
        .principals()
        .map(|(access_key_id, principal)| {
            json!({
                "access_key_id": access_key_id,
                "account": principal.account,
                "arn": principal.arn,
                "role_arn": principal.role_arn,
            })
        });
    Json(described.collect())
}

async fn put_role(State(shared): State<Shared>, Strict(role): Strict<spec::Role>) -> Done {
    check_arn(&role.arn, ":role/")?;
    if !(3600..=43200).contains(&role.max_session_seconds) {
        return Err(AdminError::bad(
            "max_session_seconds must be between 3600 and 43200",
        ));
    }
    shared.lock().identities.put_role(role);
    DONE
}

async fn roles(State(shared): State<Shared>) -> Json<Vec<spec::Role>> {
    Json(shared.lock().identities.roles().cloned().collect())
}

async fn put_provider(
    State(shared): State<Shared>,
    Strict(provider): Strict<spec::OidcProvider>,
) -> Done {
    if !provider.issuer.starts_with("https://") {
        return Err(AdminError::bad(format!(
            "{} is not an https URL",
            provider.issuer
        )));
    }
    shared.lock().providers.put(provider);
    DONE
}

async fn providers(State(shared): State<Shared>) -> Json<Vec<spec::OidcProvider>> {
    Json(shared.lock().providers.all().cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderSelector {
    account: String,
    issuer: String,
}

async fn delete_provider(
    State(shared): State<Shared>,
    StrictQuery(selector): StrictQuery<ProviderSelector>,
) -> Done {
    let ProviderSelector { account, issuer } = selector;
    shared.lock().providers.remove(&account, &issuer);
    DONE
}

async fn put_policy(State(shared): State<Shared>, Strict(policy): Strict<spec::Policy>) -> Done {
    shared.lock().policies.put(policy);
    DONE
}

async fn policies(State(shared): State<Shared>) -> Json<Vec<spec::Policy>> {
    Json(shared.lock().policies.all().to_vec())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicySelector {
    principal: Option<String>,
    region: Option<String>,
}

async fn delete_policy(
    State(shared): State<Shared>,
    StrictQuery(selector): StrictQuery<PolicySelector>,
) -> Done {
    let PolicySelector { principal, region } = selector;
    shared
        .lock()
        .policies
        .remove(principal.as_deref(), region.as_deref());
    DONE
}

async fn put_absent(State(shared): State<Shared>, Strict(absent): Strict<spec::Absent>) -> Done {
    shared.lock().absent.insert(absent);
    DONE
}

async fn absent(State(shared): State<Shared>) -> Json<Vec<spec::Absent>> {
    Json(shared.lock().absent.iter().cloned().collect())
}

async fn delete_absent(State(shared): State<Shared>, Strict(absent): Strict<spec::Absent>) -> Done {
    shared.lock().absent.remove(&absent);
    DONE
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upload {
    repository: String,
    tag: String,
}

async fn upload(
    State(shared): State<Shared>,
    StrictQuery(Upload { repository, tag }): StrictQuery<Upload>,
    archive: Bytes,
) -> Result<Json<serde_json::Value>, AdminError> {
    let uploaded = shared.lock().images.upload(&repository, &tag, &archive);
    match uploaded {
        Ok(digest) => Ok(Json(json!({"digest": digest}))),
        Err(error) => Err(AdminError::bad(error.to_string())),
    }
}

async fn expire(State(shared): State<Shared>, Strict(expire): Strict<spec::Expire>) -> Done {
    let spec::Expire {
        region,
        principal,
        sessions,
    } = expire;
    let mut state = shared.lock();
    let now = state.now(region.as_deref().unwrap_or_default());
    state
        .tokens
        .expire(region.as_deref(), principal.as_deref(), now);
    if sessions {
        state.identities.expire_sessions(principal.as_deref(), now);
    }
    DONE
}

async fn reset(State(shared): State<Shared>) -> Done {
    shared.lock().reset();
    DONE
}

fn check_arn(arn: &str, kind: &str) -> Result<(), AdminError> {
    if arn.starts_with("arn:") && arn.contains(kind) && identity::account_of(arn).is_some() {
        return Ok(());
    }
    Err(AdminError::bad(format!(
        "{arn} is not an ARN with twelve digits and {kind}"
    )))
}
