//! The section `endpoints`: AWS endpoints by region, in place of the public ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::value::InvalidValue;
use crate::aws::variables;

/// AWS endpoints of one region, for example the interface endpoints of a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// URL of the ECR API.
    pub ecr: Option<String>,
    /// URL of STS.
    pub sts: Option<String>,
}

/// Checks the endpoints of a configuration.
pub(super) fn check(endpoints: &BTreeMap<String, Endpoints>) -> Result<(), InvalidValue> {
    for (region, Endpoints { ecr, sts }) in endpoints {
        for (field, value) in [("ecr", ecr), ("sts", sts)] {
            if let Some(value) = value {
                variables::url(&format!("endpoints.{region}.{field}"), value)?;
            }
        }
    }
    Ok(())
}
