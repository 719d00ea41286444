//! The times that an Event of ours names.
//!
//! A tenant may have created the Event, with times that no library reads. So they are read as texts.

use jiff::Timestamp;
use serde::Deserialize;

/// What is read of an Event of ours.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventTimes {
    event_time: Option<String>,
    series: Option<SeriesTimes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeriesTimes {
    count: Option<i64>,
    last_observed_time: Option<String>,
}

impl EventTimes {
    /// When it was observed last, and how often. `None` if its time cannot be read: it is none of ours.
    pub(super) fn last(&self) -> Option<(Timestamp, u64)> {
        let series = self.series.as_ref();
        let last = series.map_or(&self.event_time, |series| &series.last_observed_time);
        let count = series.and_then(|series| u64::try_from(series.count?).ok());
        Some((last.as_deref()?.parse().ok()?, count.unwrap_or(1)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn last(event: Value) -> Option<(Timestamp, u64)> {
        serde_json::from_value::<EventTimes>(event).unwrap().last()
    }

    #[test]
    fn series_says_more_than_first_time() {
        let (first, later) = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:07.000000Z");
        let series = json!({ "count": 40, "lastObservedTime": later });
        let (first_time, later) = (first.parse().unwrap(), later.parse().unwrap());
        assert_eq!(last(json!({ "eventTime": first })), Some((first_time, 1)));
        let event = json!({ "eventTime": first, "series": series });
        assert_eq!(last(event), Some((later, 40)));
        assert_eq!(last(json!({ "eventTime": null, "series": null })), None);
        assert_eq!(last(json!({})), None);
    }

    #[test]
    fn unreadable_time_is_none_of_ours() {
        let good = "2026-01-01T00:00:00.000000Z";
        for time in [
            "9999-12-31T23:59:59.000000Z",
            "10000-01-01T11:59:59.000000Z",
        ] {
            assert_eq!(last(json!({ "eventTime": time })), None, "{time}");
            let series = json!({ "count": 3, "lastObservedTime": time });
            let event = json!({ "eventTime": good, "series": series });
            assert_eq!(last(event), None, "{time}");
        }
    }
}
