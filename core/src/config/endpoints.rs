//! The section `endpoints`: AWS endpoints by region, in place of the public ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// AWS endpoints of one region, for example the interface endpoints of a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// URL of the ECR API.
    pub ecr: Option<String>,
    /// URL of STS.
    pub sts: Option<String>,
}

/// An endpoint that is not a URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoints.{region}: `{url}` is not a URL; write https://HOST or http://HOST:PORT")]
pub struct InvalidEndpoint {
    /// The region of the endpoint.
    pub region: String,
    /// The text in place of a URL.
    pub url: String,
}

/// Checks the endpoints of a configuration.
pub(super) fn check(endpoints: &BTreeMap<String, Endpoints>) -> Result<(), InvalidEndpoint> {
    for (region, endpoints) in endpoints {
        for url in [&endpoints.ecr, &endpoints.sts].into_iter().flatten() {
            if !is_url(url) {
                return Err(InvalidEndpoint {
                    region: region.clone(),
                    url: url.clone(),
                });
            }
        }
    }
    Ok(())
}

fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && !host.starts_with(['/', ':'])
            && host.bytes().all(|byte| byte.is_ascii_graphic())
    })
}
