//! The section `secret`: the pull Secret.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::{self, DAY};
use crate::names::is_dns_subdomain;

/// The value of `cleanupAfter` that keeps every Secret.
const NEVER: &str = "never";

/// The pull Secret: its name in every namespace, its adoption and its clean-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// A DNS subdomain of at most 253 characters.
    #[serde(deserialize_with = "name")]
    #[cfg_attr(
        test,
        schemars(
            length(max = 253),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub name: String,
    /// Which foreign Secrets of that name are adopted.
    pub adopt: Adopt,
    /// The time after which an unused Secret is deleted; `None`: never.
    #[serde(
        deserialize_with = "cleanup_after",
        serialize_with = "write_cleanup_after"
    )]
    #[cfg_attr(test, schemars(with = "String"))]
    pub cleanup_after: Option<Duration>,
}

impl Default for Secret {
    fn default() -> Self {
        Self {
            name: "ecr-registry-credentials".to_owned(),
            adopt: Adopt::default(),
            cleanup_after: Some(35 * DAY),
        }
    }
}

/// Which foreign Secrets of type dockerconfigjson with the pull Secret's name are adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Adopt {
    /// None.
    Never,
    /// Those with the annotation `ecr-pull-secrets.dev/adopt: "true"`.
    Annotated,
    /// Those, and those whose every entry is for a private ECR registry.
    #[default]
    EcrOnly,
    /// All that parse.
    All,
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if !is_dns_subdomain(&name) {
        return Err(D::Error::custom(format!(
            "`{name}` is not a Secret's name: lower-case letters, digits, `-` and `.`, at most 253"
        )));
    }
    Ok(name)
}

/// At least a day, because the leader may list all pods only once a day.
fn cleanup_after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == NEVER {
        return Ok(None);
    }
    let after = duration::parse(&text).filter(|after| *after >= DAY);
    after.map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is neither a day or more nor `{NEVER}`; write 35d, say"
        ))
    })
}

fn write_cleanup_after<S: Serializer>(
    after: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match after {
        None => serializer.serialize_str(NEVER),
        Some(after) if after.as_secs() % DAY.as_secs() == 0 => {
            serializer.collect_str(&format_args!("{}d", after.as_secs() / DAY.as_secs()))
        }
        Some(after) => duration::write(after, serializer),
    }
}
