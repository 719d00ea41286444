//! Which pods get the reference, by the label `ecr-pull-secrets.dev/inject` of pod and namespace.

use serde::{Deserialize, Serialize};

/// What the label of a pod or a namespace asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// No label, or a value that is neither `true` nor `false`.
    #[default]
    None,
    /// `true`.
    In,
    /// `false`. It wins over everything.
    Out,
}

impl Wish {
    /// The label's key.
    pub const LABEL: &'static str = "ecr-pull-secrets.dev/inject";

    /// Reads the label's value.
    pub fn of_label(value: Option<&str>) -> Self {
        match value {
            Some("true") => Self::In,
            Some("false") => Self::Out,
            _ => Self::None,
        }
    }
}

/// The configuration's `selection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// All pods but those that say `false`.
    #[default]
    OptOut,
    /// Pods that say `true`, on pod or namespace, unless one of them says `false`.
    OptIn,
}

impl Selection {
    /// Whether a pod with this wish, in a namespace with that one, gets the reference.
    pub fn admits(self, pod: Wish, namespace: Wish) -> bool {
        if pod == Wish::Out || namespace == Wish::Out {
            return false;
        }
        self == Self::OptOut || pod == Wish::In || namespace == Wish::In
    }
}
