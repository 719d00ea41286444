//! The calls of the admin API with which tests read something.
//!
//! | call | query | answers |
//! |---|---|---|
//! | `GET /admin/calls` | `?region= &principal= &action=` | a list of [`spec::CallCount`] |
//! | `DELETE /admin/calls` | `?region=` | deletes the counts of calls and pulls |
//! | `GET /admin/pulls` | `?region= &repository=` | a list of [`spec::PullCount`] |
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

async fn secrets(State(shared): State<Shared>) -> Json<spec::Secrets> {
    Json(shared.lock().all_secrets())
}
