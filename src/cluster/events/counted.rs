//! One Event about many objects: its count says how many, its time until when.

use ecr_pull_secrets_core::cause::Cause;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::EventSeries;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::json;

use super::{Events, name, series};
use crate::cluster::refusal::Refusal;

impl Events {
    /// When the Event of an object's cause was observed last, and how often; `None` if there is none, or
    /// none with a time of ours.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not tell.
    pub(crate) async fn observed(
        &self,
        about: &ObjectReference,
        cause: Cause,
    ) -> Result<Option<(Timestamp, u64)>, Refusal> {
        // A patch that changes nothing: our rights do not include a read.
        match self.reporter.patch(about, cause.reason(), &json!({})).await {
            Ok(event) => Ok(event.last()),
            Err(Refusal::Missing) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Creates the Event of an object's cause with a count and the time of the last observation, or sets
    /// both of the one that exists.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn report_count(
        &self,
        about: &ObjectReference,
        cause: Cause,
        note: &str,
        count: u64,
        seen: Timestamp,
    ) -> Result<(), Refusal> {
        let seen = MicroTime(seen);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let reason = cause.reason();
        let mut event = self
            .reporter
            .event(&name(about, reason), about, reason, note);
        // The API server takes no series of one.
        event.series = (count > 1).then(|| EventSeries {
            count,
            last_observed_time: seen.clone(),
        });
        event.event_time = Some(seen.clone());
        match self.reporter.store(about, &event).await {
            Err(Refusal::Changed) => {
                let series = series(count.max(2), &seen);
                let patched = self.reporter.patch(about, reason, &series);
                patched.await.map(drop)
            }
            created => created,
        }
    }
}
