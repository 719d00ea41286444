//! The subjects of [`crate::pods`]: what the API server calls for each pod, and the rates that they reach.

use std::fmt;

use crate::report::median;

/// What the API server calls for each pod.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Webhook {
    /// Our replicas.
    Ours,
    /// A webhook that echoes the uid.
    Echo,
    /// A webhook that echoes the uid with our patch.
    Patch,
    /// None. Only the guards are there, as in every other turn but the next.
    Guards,
    /// None, and no guards either.
    Absent,
}

/// All subjects.
pub const ALL: [Webhook; 5] = [
    Webhook::Ours,
    Webhook::Echo,
    Webhook::Patch,
    Webhook::Guards,
    Webhook::Absent,
];

impl Webhook {
    /// Whether pods get the reference.
    pub fn injects(self) -> bool {
        matches!(self, Self::Ours | Self::Patch)
    }

    /// Whether it is registered.
    pub fn is_called(self) -> bool {
        !matches!(self, Self::Guards | Self::Absent)
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "with",
            Self::Echo => "echo",
            Self::Patch => "echo_patch",
            Self::Guards => "guards",
            Self::Absent => "without",
        })
    }
}

/// Pods per second of each webhook, a round at a time, for a number of clients.
#[derive(Default)]
pub struct Rates(pub [Vec<f64>; 5]);

impl Rates {
    /// The rates of one, a round at a time.
    pub fn of(&self, webhook: Webhook) -> &[f64] {
        &self.0[webhook as usize]
    }

    /// Within a round the machine is the same. So the ratios are compared, and not the medians.
    pub fn ratio(&self, one: Webhook, other: Webhook) -> f64 {
        let pairs = self.of(one).iter().zip(self.of(other));
        median(&pairs.map(|(one, other)| one / other).collect::<Vec<f64>>())
    }

    /// The same of ours and another.
    pub fn ours_of(&self, other: Webhook) -> f64 {
        self.ratio(Webhook::Ours, other)
    }
}

/// Every round has another order, forwards or backwards.
pub fn order(round: usize) -> [Webhook; 5] {
    let mut order = ALL;
    order.rotate_left(round % 5);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}
