//! What a connection is doing, and for how long it may.

use std::time::Duration;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::https) enum Phase {
    /// TLS is being spoken about.
    Handshake,
    /// Nothing, since the handshake or the last answer.
    Idle,
    /// A header is coming in.
    Header,
    /// A body is coming in.
    Body,
    /// The request is here, the answer is not.
    Work,
    /// The answer goes out.
    Answer,
    /// The last answer is out, and what still comes of its request is thrown away.
    Linger,
}

impl Phase {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 7] = [
        Self::Handshake,
        Self::Idle,
        Self::Header,
        Self::Body,
        Self::Work,
        Self::Answer,
        Self::Linger,
    ];

    /// How long it may last. Work has a deadline of its own.
    pub(super) fn limit(self) -> Option<Duration> {
        let seconds = match self {
            Self::Handshake | Self::Answer => 10,
            // Go's transport drops what is idle for 90 s. Whoever closes first must not be us: a
            // POST on a dead connection is not tried again.
            Self::Idle => 120,
            // An API server sends both at once.
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
