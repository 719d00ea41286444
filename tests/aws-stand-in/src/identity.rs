//! The callers: users with long-term keys, roles, and the sessions that STS has issued.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{glob, spec};

/// A caller that can sign.
#[derive(Clone)]
pub(crate) struct Principal {
    pub(crate) account: String,
    /// ARN as messages name it: a user, or `assumed-role/NAME/SESSION`.
    pub(crate) arn: String,
    /// The session's role.
    pub(crate) role_arn: Option<String>,
    /// Id as `GetCallerIdentity` names it.
    pub(crate) user_id: String,
}

impl Principal {
    /// The ARN that policies are attached to: the user, or the session's role.
    pub(crate) fn policy_arn(&self) -> &str {
        self.role_arn.as_deref().unwrap_or(&self.arn)
    }

    /// Whether a glob matches this principal or its role.
    pub(crate) fn is_meant_by(&self, pattern: &str) -> bool {
        glob::matches(pattern, &self.arn) || glob::matches(pattern, self.policy_arn())
    }
}

/// A secret key and its principal.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) secret: String,
    /// Token of a session; every call of the session must send it.
    pub(crate) session_token: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) principal: Principal,
}

/// All keys and roles.
pub(crate) struct Identities {
    keys: HashMap<String, Key>,
    roles: BTreeMap<String, spec::Role>,
}

impl Default for Identities {
    fn default() -> Self {
        let mut identities = Self {
            keys: HashMap::new(),
            roles: BTreeMap::new(),
        };
        identities.put_user(spec::User {
            access_key_id: crate::DEFAULT_ACCESS_KEY_ID.to_owned(),
            secret_access_key: crate::DEFAULT_SECRET_ACCESS_KEY.to_owned(),
            account: crate::DEFAULT_ACCOUNT.to_owned(),
            arn: crate::DEFAULT_ARN.to_owned(),
        });
        identities
    }
}

impl Identities {
    pub(crate) fn key(&self, access_key_id: &str) -> Option<&Key> {
        self.keys.get(access_key_id)
    }

    pub(crate) fn role(&self, arn: &str) -> Option<&spec::Role> {
        self.roles.get(arn)
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = &spec::Role> {
        self.roles.values()
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = (&str, &Principal)> {
        self.keys
            .iter()
            .map(|(id, key)| (id.as_str(), &key.principal))
    }

    pub(crate) fn put_user(&mut self, user: spec::User) {
        let spec::User {
            access_key_id,
            secret_access_key,
            account,
            arn,
        } = user;
        let user_id = access_key_id.replacen("AKIA", "AIDA", 1);
        let principal = Principal {
            account,
            arn,
            role_arn: None,
            user_id,
        };
        let key = Key {
            secret: secret_access_key,
            session_token: None,
            expires: None,
            principal,
        };
        self.keys.insert(access_key_id, key);
    }

    pub(crate) fn put_role(&mut self, role: spec::Role) {
        self.roles.insert(role.arn.clone(), role);
    }

    pub(crate) fn put_session(&mut self, access_key_id: String, key: Key) {
        self.keys.insert(access_key_id, key);
    }

    /// Expires the sessions whose principal matches the glob, or all.
    pub(crate) fn expire_sessions(&mut self, principal: Option<&str>, now: Timestamp) {
        for key in self
            .keys
            .values_mut()
            .filter(|key| key.session_token.is_some())
        {
            if principal.is_none_or(|pattern| key.principal.is_meant_by(pattern)) {
                key.expires = Some(now);
            }
        }
    }
}

/// The account number in an ARN such as `arn:aws:iam::123456789012:role/name`.
pub(crate) fn account_of(arn: &str) -> Option<&str> {
    let account = arn.split(':').nth(4)?;
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then_some(account)
}
