//! The section `rotation`: the renewal of tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// When tokens are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// The age at which a token is renewed at the latest. Half of its lifetime may come first.
    #[serde(
        deserialize_with = "duration::read",
        serialize_with = "duration::write"
    )]
    #[cfg_attr(test, schemars(with = "String"))]
    pub max_age: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(6 * 60 * 60),
        }
    }
}
