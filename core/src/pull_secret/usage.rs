//! What clean-up does next about a pull Secret: it marks one that nothing uses, and removes it when
//! the mark is old enough.

use jiff::{SignedDuration, Timestamp};

/// A mark from further ahead than this comes from a wrong clock.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// A pull Secret, as far as clean-up cares.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// Whether our label is on it.
    pub is_ours: bool,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// Whether another field manager wrote the content.
    pub is_edited: bool,
    /// Whether the annotations say that it holds our entries and nothing else.
    pub is_exclusive: bool,
    /// The annotation `unused-since`.
    pub unused_since: Option<&'a str>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupStep {
    /// Nothing.
    Keep,
    /// Write since when nothing uses it.
    Mark,
    /// Remove the mark: something uses it again.
    Unmark,
    /// Delete it.
    Remove,
}

/// The next step for a Secret that is in use or not, where unused ones go `after` some time.
pub fn next_step(
    secret: Usage<'_>,
    is_in_use: bool,
    after: SignedDuration,
    now: Timestamp,
) -> CleanupStep {
    if !secret.is_ours || secret.is_terminating {
        return CleanupStep::Keep;
    }
    if is_in_use {
        let mark = secret.unused_since;
        return mark.map_or(CleanupStep::Keep, |_| CleanupStep::Unmark);
    }
    let since = secret
        .unused_since
        .and_then(|mark| mark.parse::<Timestamp>().ok())
        .filter(|since| since.duration_since(now) < MAX_CLOCK_SKEW);
    match since {
        None => CleanupStep::Mark,
        Some(since) if now.duration_since(since) < after => CleanupStep::Keep,
        // Other entries, and another field manager, may have a use that we do not see.
        Some(_) if secret.is_edited || !secret.is_exclusive => CleanupStep::Keep,
        Some(_) => CleanupStep::Remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn secret(unused_since: Option<&str>) -> Usage<'_> {
        Usage {
            is_ours: true,
            is_terminating: false,
            is_edited: false,
            is_exclusive: true,
            unused_since,
        }
    }

    fn step(secret: Usage<'_>, is_in_use: bool, now: &str) -> CleanupStep {
        next_step(secret, is_in_use, DAY, now.parse().unwrap())
    }

    #[test]
    fn unused_secret_is_marked_and_later_removed() {
        let (new, marked) = (secret(None), secret(Some("2026-01-01T00:00:00Z")));
        let cases = [
            (new, true, "2026-01-01T00:00:00Z", CleanupStep::Keep),
            (new, false, "2026-01-01T00:00:00Z", CleanupStep::Mark),
            (marked, false, "2026-01-01T23:59:59Z", CleanupStep::Keep),
            (marked, false, "2026-01-02T00:00:00Z", CleanupStep::Remove),
            (marked, true, "2026-01-02T00:00:00Z", CleanupStep::Unmark),
        ];
        for (secret, is_in_use, now, wanted) in cases {
            assert_eq!(step(secret, is_in_use, now), wanted, "{now}");
        }
    }

    #[test]
    fn impossible_mark_is_replaced() {
        for mark in ["", "yesterday", "2026-01-03T00:00:00Z"] {
            let marked = secret(Some(mark));
            let next = step(marked, false, "2026-01-01T00:00:00Z");
            assert_eq!(next, CleanupStep::Mark, "{mark}");
        }
        // Clocks differ a little.
        let marked = secret(Some("2026-01-01T01:00:00Z"));
        let next = step(marked, false, "2026-01-01T00:00:00Z");
        assert_eq!(next, CleanupStep::Keep);
    }

    #[test]
    fn secret_that_is_not_ours_alone_stays() {
        let old = secret(Some("2026-01-01T00:00:00Z"));
        let now = "2027-01-01T00:00:00Z";
        assert_eq!(step(old, false, now), CleanupStep::Remove);
        let foreign = Usage {
            is_ours: false,
            ..old
        };
        let terminating = Usage {
            is_terminating: true,
            ..old
        };
        let edited = Usage {
            is_edited: true,
            ..old
        };
        let shared = Usage {
            is_exclusive: false,
            ..old
        };
        for kept in [foreign, terminating, edited, shared] {
            assert_eq!(step(kept, false, now), CleanupStep::Keep, "{kept:?}");
        }
    }
}
