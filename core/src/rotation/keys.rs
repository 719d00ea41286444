//! From a host in a Secret to the key of its token. Ten thousand namespaces name the same few
//! hosts, so what a host is is worked out once.

use std::collections::HashMap;
use std::sync::Arc;

use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::Subject;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::rules::{Rules, Verdict};

/// So many hosts are remembered; pod authors choose their names.
const REMEMBERED: usize = 4096;

/// What is known about hosts.
#[derive(Default)]
pub(crate) struct Keys(HashMap<Arc<str>, Option<Host>>);

struct Host {
    registry: Registry,
    keys: Vec<(Identity, Arc<TokenKey>)>,
}

impl Keys {
    /// The registry of a host and the key of the token that opens it for a namespace; nothing where
    /// the rules deny it, or where there is no such registry.
    pub(crate) fn of(
        &mut self,
        rules: &Rules,
        host: &Arc<str>,
        namespace: &str,
    ) -> Option<(Registry, Arc<TokenKey>)> {
        if !self.0.contains_key(host) {
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
            self.0.insert(host.clone(), Host::read(host));
        }
        let host = self.0.get_mut(host)?.as_mut()?;
        match rules.verdict(&host.registry, Subject::of_namespace(namespace)) {
            Verdict::Allow(identity) => Some((host.registry.clone(), host.key(identity))),
            Verdict::Deny(_) => None,
        }
    }
}

impl Host {
    fn read(host: &str) -> Option<Self> {
        // A token of ECR does not open ECR Public.
        let registry = Registry::of_host(host).filter(|registry| !registry.is_public())?;
        let keys = Vec::new();
        Some(Self { registry, keys })
    }

    fn key(&mut self, identity: Identity) -> Arc<TokenKey> {
        if let Some((_, key)) = self.keys.iter().find(|(known, _)| *known == identity) {
            return key.clone();
        }
        let key = Arc::new(TokenKey::new(identity.clone(), &self.registry));
        self.keys.push((identity, key.clone()));
        key
    }
}

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::identity::AssumeRole;
    use ecr_pull_secrets_core::rules::{Empty, Glob, Rule};

    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    #[test]
    fn the_rules_are_asked_for_each_namespace() {
        let role = AssumeRole {
            role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
            external_id: None,
            session_name: None,
        };
        let rules = Rules::new(vec![
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
        let (rules, mut keys) = (rules.unwrap(), Keys::default());
        let mut of = |namespace| keys.of(&rules, &HOST.into(), namespace);
        assert!(of("closed").is_none());
        let (registry, ambient) = of("other").unwrap();
        assert_eq!((registry.host(), &*ambient.region), (HOST, "us-east-1"));
        assert_eq!(ambient.identity, Identity::Ambient);
        let (_, role) = of("team-a").unwrap();
        assert_ne!(role, ambient);
        assert!(Arc::ptr_eq(&role, &of("team-b").unwrap().1));
    }

    #[test]
    fn what_is_no_private_registry_has_no_key() {
        let mut keys = Keys::default();
        for host in ["example.com", "public.ecr.aws", ""] {
            let key = keys.of(&Rules::default(), &host.into(), "team");
            assert!(key.is_none(), "{host}");
        }
    }

    #[test]
    fn no_more_hosts_are_remembered_than_fit() {
        let mut keys = Keys::default();
        for number in 0..=REMEMBERED {
            let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
            assert!(keys.of(&Rules::default(), &host.into(), "team").is_some());
            assert!(keys.0.len() <= REMEMBERED);
        }
    }
}
