//! From a host in a Secret to the key of its token. Ten thousand namespaces name the same few
//! hosts, so each host is parsed once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::identity::{Identity, Subject, TokenKey};
use crate::image::Registry;
use crate::rules::{Rules, Verdict};

/// The most hosts in memory: pod authors choose their names.
const MAX_HOSTS: usize = 4096;

/// The hosts that were asked for, with their registries and keys. An answer follows the rules of
/// the question: nothing here has to change with the configuration.
#[derive(Debug, Default)]
pub struct TokenKeys(HashMap<Arc<str>, Option<KnownHost>>);

#[derive(Debug)]
struct KnownHost {
    registry: Registry,
    /// One for each identity: a role for each tenant may use one registry.
    keys: HashMap<Identity, Arc<TokenKey>>,
}

impl TokenKeys {
    /// The registry of a host, and the key of the token that opens it for a subject. `None` where
    /// the rules deny it, or where the host is no private registry.
    pub fn of(
        &mut self,
        rules: &Rules,
        host: &Arc<str>,
        subject: Subject<'_>,
    ) -> Option<(Registry, Arc<TokenKey>)> {
        if !self.0.contains_key(host) {
            if self.0.len() >= MAX_HOSTS {
                self.0.clear();
            }
            self.0.insert(host.clone(), KnownHost::parse(host));
        }
        let host = self.0.get_mut(host)?.as_mut()?;
        match rules.verdict(&host.registry, subject) {
            Verdict::Allow(identity) => Some((host.registry.clone(), host.key(identity))),
            Verdict::Deny(_) => None,
        }
    }
}

impl KnownHost {
    fn parse(host: &str) -> Option<Self> {
        // A token of ECR does not open ECR Public.
        let registry = Registry::of_host(host).filter(|registry| !registry.is_public())?;
        let keys = HashMap::new();
        Some(Self { registry, keys })
    }

    fn key(&mut self, identity: Identity) -> Arc<TokenKey> {
        if let Some(key) = self.keys.get(&identity) {
            return key.clone();
        }
        let key = Arc::new(TokenKey::new(identity.clone(), &self.registry));
        self.keys.insert(identity, key.clone());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::{Empty, Rule, check};
    use crate::identity::AssumeRole;
    use crate::rules::Glob;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const TEAM: Subject<'_> = Subject {
        namespace: "team",
        service_account: None,
    };

    #[test]
    fn each_namespace_gets_the_verdict_of_its_rule() {
        let role = AssumeRole {
            role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
            external_id: None,
            session_name: None,
        };
        let rules = check(&[
            Rule {
                namespaces: vec![Glob::new("closed")],
                deny: Some(Empty {}),
                ..Rule::default()
            },
            Rule {
                namespaces: vec![Glob::new("team-*")],
                assume_role: Some(role),
                ..Rule::default()
            },
            Rule {
                ambient: Some(Empty {}),
                ..Rule::default()
            },
        ]);
        let (rules, mut keys) = (rules.unwrap(), TokenKeys::default());
        let mut of = |namespace| keys.of(&rules, &HOST.into(), Subject::of_namespace(namespace));
        assert!(of("closed").is_none());
        let (registry, ambient) = of("other").unwrap();
        assert_eq!((registry.host(), &*ambient.region), (HOST, "us-east-1"));
        assert_eq!(ambient.identity, Identity::Ambient);
        let (_, role) = of("team-a").unwrap();
        assert_ne!(role, ambient);
        assert!(Arc::ptr_eq(&role, &of("team-b").unwrap().1));
    }

    #[test]
    fn only_private_registry_has_a_key() {
        let mut keys = TokenKeys::default();
        for host in ["example.com", "public.ecr.aws", ""] {
            let key = keys.of(&Rules::default(), &host.into(), TEAM);
            assert!(key.is_none(), "{host}");
        }
    }

    #[test]
    fn number_of_known_hosts_is_bounded() {
        let mut keys = TokenKeys::default();
        for number in 0..=MAX_HOSTS {
            let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
            assert!(keys.of(&Rules::default(), &host.into(), TEAM).is_some());
            assert!(keys.0.len() <= MAX_HOSTS);
        }
    }
}
