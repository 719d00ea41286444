//! The section `repair`: pods that the API server stored without the reference.

use serde::{Deserialize, Serialize};

/// What the leader does about such a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Repair {
    /// Whether it deletes one that has not started, if a controller re-creates it.
    pub recreate_pods: bool,
}
