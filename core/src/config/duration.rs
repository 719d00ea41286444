//! Durations as texts: `6h`, `90m`, `35d`, `1h30m`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// A day of 24 hours.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses a duration of one whole second or more; a day has 24 hours.
pub fn parse(text: &str) -> Option<Duration> {
    // A `SignedDuration` cannot parse days; a `Span` can, and learns their length here.
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero() && duration.subsec_nanos() == 0)
}

/// Reads a field.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration in whole seconds; write 35d, 6h, 90m or 30s"
        ))
    })
}

/// Writes a field in seconds.
pub(super) fn write<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}s", duration.as_secs()))
}
