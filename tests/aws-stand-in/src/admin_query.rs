//! The calls of the admin API with which tests read something.
//!
//! | call | query | answers |
//! |---|---|---|
//! | `GET /admin/calls` | `?region= &principal= &action=` | a list of [`spec::CallCount`] |
//! | `DELETE /admin/calls` | `?region=` | deletes the counts of calls and pulls |
//! | `GET /admin/pulls` | `?region= &repository=` | a list of [`spec::PullCount`] |
//! | `GET /admin/expiries` | `?region=` | the expiries of all tokens, in Unix seconds, sorted |
//! | `GET /admin/secrets` | | [`spec::Secrets`] |

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use serde::Deserialize;

use crate::{admin::StrictQuery, spec, state::Shared};

/// The routes of these calls, below `/admin`.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/calls", get(calls).delete(clear))
        .route("/pulls", get(pulls))
        .route("/expiries", get(expiries))
        .route("/secrets", get(secrets))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallFilter {
    region: Option<String>,
    principal: Option<String>,
    action: Option<String>,
}

fn passes(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|filter| filter == value)
}

async fn calls(
    State(shared): State<Shared>,
    StrictQuery(filter): StrictQuery<CallFilter>,
) -> Json<Vec<spec::CallCount>> {
    let state = shared.lock();
    let counts = state.calls.calls().filter(|count| {
        passes(filter.region.as_ref(), &count.region)
            && passes(filter.principal.as_ref(), &count.principal)
            && passes(filter.action.as_ref(), &count.action)
    });
    Json(counts.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PullFilter {
    region: Option<String>,
    repository: Option<String>,
}

async fn pulls(
    State(shared): State<Shared>,
    StrictQuery(filter): StrictQuery<PullFilter>,
) -> Json<Vec<spec::PullCount>> {
    let state = shared.lock();
    let counts = state.calls.pulls().filter(|count| {
        passes(filter.region.as_ref(), &count.region)
            && passes(filter.repository.as_ref(), &count.repository)
    });
    Json(counts.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionFilter {
    region: Option<String>,
}

async fn clear(
    State(shared): State<Shared>,
    StrictQuery(filter): StrictQuery<RegionFilter>,
) -> StatusCode {
    shared.lock().calls.clear(filter.region.as_deref());
    StatusCode::NO_CONTENT
}

async fn expiries(
    State(shared): State<Shared>,
    StrictQuery(filter): StrictQuery<RegionFilter>,
) -> Json<Vec<i64>> {
    let state = shared.lock();
    let mut expiries: Vec<i64> = state
        .tokens
        .all()
        .filter(|token| passes(filter.region.as_ref(), &token.region))
        .map(|token| token.expires.as_second())
        .collect();
    expiries.sort_unstable();
    Json(expiries)
}

async fn secrets(State(shared): State<Shared>) -> Json<spec::Secrets> {
    Json(shared.lock().all_secrets())
}
