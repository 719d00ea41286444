//! How pods come to name the pull Secret.

use serde::{Deserialize, Serialize};

/// The configuration's `injection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Injection {
    /// The webhook adds the reference to each new pod that needs it.
    #[default]
    Webhook,
    /// Pods or their ServiceAccounts name it themselves: the Secrets alone are maintained.
    None,
}

impl Injection {
    /// Whether new pods get the reference. A stored pod without it is missed then.
    pub fn reaches_pods(self) -> bool {
        self == Self::Webhook
    }
}
