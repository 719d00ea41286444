//! The phases of a connection, each with its time limit.

use std::time::Duration;

/// What a connection does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::https) enum ConnectionPhase {
    /// The TLS handshake.
    Handshake,
    /// Waiting for a request.
    Idle,
    /// Receiving a header.
    Header,
    /// Receiving a body.
    Body,
    /// Working on the answer.
    Work,
    /// Sending the answer.
    Answer,
    /// Discarding the rest of a request after its answer, which was the last one.
    Linger,
}

impl ConnectionPhase {
    /// All phases, ordered by their numbers.
    pub(super) const ALL: [Self; 7] = [
        Self::Handshake,
        Self::Idle,
        Self::Header,
        Self::Body,
        Self::Work,
        Self::Answer,
        Self::Linger,
    ];

    /// The longest duration. `Work` has a deadline of its own.
    pub(super) fn limit(self) -> Option<Duration> {
        let seconds = match self {
            Self::Handshake | Self::Answer => 10,
            // Go's transport closes idle connections after 90 s. The client must close first,
            // because an API server does not retry a POST on a closed connection.
            Self::Idle => 120,
            // An API server sends header and body at once.
            Self::Header | Self::Body | Self::Linger => 5,
            Self::Work => return None,
        };
        Some(Duration::from_secs(seconds))
    }

    /// The label of the metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Header => "header",
            Self::Body => "body",
            Self::Work => "work",
            Self::Answer => "answer",
            Self::Linger => "linger",
        }
    }
}
