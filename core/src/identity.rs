//! AWS identities: which one mints a token, for which subject, and the key that shares the token.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::{Endpoint, Registry};

/// The namespace and the ServiceAccount for which the rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// ServiceAccount of the pod; `None` where no pod asks (provisioning, rotation).
    pub service_account: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// A namespace as a whole.
    pub fn of_namespace(namespace: &'a str) -> Self {
        Self {
            namespace,
            service_account: None,
        }
    }
}

/// A role to assume before asking ECR.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssumeRole {
    /// `arn:PARTITION:iam::ACCOUNT:role/NAME`.
    pub role_arn: String,
    /// 2 to 1224 characters of `[\w+=,.@:\/-]`, where the role's trust policy demands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// 2 to 64 characters of `[\w+=,.@-]`; `ecr-pull-secrets` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
}

/// Mounted credentials with a name, beside the ambient ones: in another partition, for example.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedCredentials {
    /// 1 to 40 lower-case letters, digits and `-`: a part of the names of directory and volume.
    pub name: String,
}

/// [`Identity::Ambient`] as text.
const AMBIENT: &str = "ambient";

/// The AWS identity that mints a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// The process's own, from the AWS SDK's chain.
    Ambient,
    /// A role that the process assumes.
    Role(Arc<AssumeRole>),
    /// Further credentials that are mounted.
    Credentials(Arc<NamedCredentials>),
}

impl Identity {
    /// Its mark.
    pub fn mark(&self) -> IdentityMark {
        match self {
            Self::Ambient => IdentityMark::of(AMBIENT),
            Self::Role(role) => IdentityMark::of(&role.role_arn),
            Self::Credentials(_) => IdentityMark::of(&self.to_string()),
        }
    }
}

impl fmt::Display for Identity {
    /// `ambient`, the role's ARN, or `credentials:NAME`: for annotations and logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambient => formatter.write_str(AMBIENT),
            Self::Role(role) => formatter.write_str(&role.role_arn),
            Self::Credentials(named) => write!(formatter, "credentials:{}", named.name),
        }
    }
}

/// A hash that tells identities apart in 4 bytes: a role's name may have thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityMark(NonZeroU32);

impl IdentityMark {
    /// The mark of an identity as the annotation writes it.
    pub fn of(identity: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
        let mark = NonZeroU32::new(hasher.finish() as u32);
        Self(mark.unwrap_or(NonZeroU32::MIN))
    }
}

/// A registry, and the AWS identity whose token opens it for a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    /// The registry.
    pub registry: Registry,
    /// The identity that mints the token.
    pub identity: Identity,
}

impl Access {
    /// The key of the token that opens the registry.
    pub fn token_key(&self) -> TokenKey {
        TokenKey::new(self.identity.clone(), &self.registry)
    }
}

/// What one token is for: it opens every registry of the region that the identity may read,
/// whatever the account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKey {
    /// The identity that mints it.
    pub identity: Identity,
    /// The region of the registries.
    pub region: Arc<str>,
    /// The region's API endpoint that mints it.
    pub endpoint: Endpoint,
}

impl TokenKey {
    /// The key of the token that opens a registry for an identity.
    pub fn new(identity: Identity, registry: &Registry) -> Self {
        Self {
            identity,
            region: registry.region().into(),
            endpoint: registry.endpoint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_written_as_ambient_arn_or_name() {
        let role = AssumeRole {
            role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
            external_id: None,
            session_name: None,
        };
        assert_eq!(Identity::Ambient.to_string(), "ambient");
        let arn = role.role_arn.clone();
        assert_eq!(Identity::Role(Arc::new(role)).to_string(), arn);
        let name = "china".to_owned();
        let named = Identity::Credentials(Arc::new(NamedCredentials { name }));
        assert_eq!(named.to_string(), "credentials:china");
        assert_eq!(named.mark(), IdentityMark::of("credentials:china"));
    }
}
