//! The only source of time, and AWS's time formats.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// The system's time. All other code uses [`crate::state::State::now`], which adds the offsets that tests set.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the system's clock"
)]
pub(crate) fn system_now() -> Timestamp {
    Timestamp::now()
}

/// `20150830T123600Z`, as in `X-Amz-Date`.
pub(crate) fn amz_date(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Parses `X-Amz-Date`; refuses every other time format.
pub(crate) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    if text.len() != 16 {
        return None;
    }
    let date = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// `2015-08-30T12:36:00Z`, as in STS answers.
pub(crate) fn iso8601(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `Sun, 30 Aug 2015 12:36:00 GMT`, as in the `Date` header.
pub(crate) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Seconds since 1970 with a fraction, as ECR writes `expiresAt`.
pub(crate) fn unix_seconds(time: Timestamp) -> f64 {
    // Exact, because milliseconds since 1970 stay far below 2^53.
    #[expect(clippy::cast_precision_loss)]
    let millis = time.as_millisecond() as f64;
    millis / 1000.0
}

/// Adds seconds to a time; returns the time unchanged if the sum is out of range.
pub(crate) fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_formats_agree_with_each_other() {
        let time = parse_amz_date("20150830T123600Z").unwrap();
        assert_eq!(amz_date(time), "20150830T123600Z");
        assert_eq!(iso8601(time), "2015-08-30T12:36:00Z");
        assert_eq!(http_date(time), "Sun, 30 Aug 2015 12:36:00 GMT");
        assert_eq!(unix_seconds(after(time, 1)), 1_440_938_161.0);
    }

    #[test]
    fn other_time_formats_are_refused() {
        for text in [
            "",
            "2015-08-30T12:36:00Z",
            "20150830T123600",
            "20151330T123600Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
    }
}
