//! What a principal may do, and AWS's message when it may not.

use crate::{EcrHost, glob, identity::Principal, spec::Policy};

/// The policies that tests have set. Without a policy, everything is allowed.
#[derive(Default)]
pub(crate) struct Policies(Vec<Policy>);

impl Policies {
    pub(crate) fn put(&mut self, policy: Policy) {
        self.remove(policy.principal.as_deref(), policy.region.as_deref());
        self.0.push(policy);
    }

    /// Removes the policy with exactly this principal and region.
    pub(crate) fn remove(&mut self, principal: Option<&str>, region: Option<&str>) {
        self.0
            .retain(|old| (old.principal.as_deref(), old.region.as_deref()) != (principal, region));
    }

    pub(crate) fn all(&self) -> &[Policy] {
        &self.0
    }

    fn of(&self, principal: &Principal, region: &str) -> Option<&Policy> {
        let mine = |policy: &&Policy| {
            policy
                .principal
                .as_deref()
                .is_none_or(|arn| arn == principal.policy_arn())
                && policy.region.as_deref().is_none_or(|named| named == region)
        };
        self.0
            .iter()
            .filter(mine)
            .max_by_key(|policy| (policy.principal.is_some(), policy.region.is_some()))
    }

    /// Checks that the principal may mint in the region; the error is AWS's message.
    pub(crate) fn check_mint(&self, principal: &Principal, region: &str) -> Result<(), String> {
        const ACTION: &str = "ecr:GetAuthorizationToken";
        if self
            .of(principal, region)
            .is_some_and(|policy| policy.deny_get_authorization_token)
        {
            return Err(denied(
                principal,
                ACTION,
                "*",
                &no_policy("identity", ACTION),
            ));
        }
        Ok(())
    }

    /// Checks that the principal may do `action` with a repository; the error is AWS's message.
    pub(crate) fn check_pull(
        &self,
        principal: &Principal,
        registry: &EcrHost,
        repository: &str,
        action: &str,
    ) -> Result<(), String> {
        let Some(Policy { pull, .. }) = self.of(principal, &registry.region) else {
            return Ok(());
        };
        let name = format!("{}/{repository}", registry.account);
        let named_in = |globs: &[String]| globs.iter().any(|pattern| glob::matches(pattern, &name));
        let because = if named_in(&pull.deny) {
            "with an explicit deny in an identity-based policy".to_owned()
        } else if named_in(&pull.allow) {
            return Ok(());
        } else if principal.account == registry.account {
            no_policy("identity", action)
        } else {
            // Across accounts, usually the repository's own policy is missing.
            no_policy("resource", action)
        };
        Err(denied(
            principal,
            action,
            &registry.repository_arn(repository),
            &because,
        ))
    }
}

fn no_policy(kind: &str, action: &str) -> String {
    format!("because no {kind}-based policy allows the {action} action")
}

fn denied(principal: &Principal, action: &str, resource: &str, because: &str) -> String {
    format!(
        "User: {} is not authorized to perform: {action} on resource: {resource} {because}",
        principal.arn
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PullRights;

    fn principal() -> Principal {
        Principal {
            account: "123456789012".into(),
            arn: "arn:aws:sts::123456789012:assumed-role/r/s".into(),
            role_arn: Some("arn:aws:iam::123456789012:role/r".into()),
            user_id: "AROA:s".into(),
        }
    }

    fn registry(account: &str) -> EcrHost {
        EcrHost {
            account: account.into(),
            region: "land-1".into(),
        }
    }

    fn pull(policies: &Policies, account: &str, repository: &str) -> Result<(), String> {
        policies.check_pull(
            &principal(),
            &registry(account),
            repository,
            "ecr:BatchGetImage",
        )
    }

    #[test]
    fn everything_is_allowed_without_a_policy() {
        assert!(pull(&Policies::default(), "210987654321", "app").is_ok());
        assert!(
            Policies::default()
                .check_mint(&principal(), "land-1")
                .is_ok()
        );
    }

    #[test]
    fn refusal_names_principal_action_and_resource() {
        let mut policies = Policies::default();
        let allow = vec!["123456789012/team-a/*".to_owned()];
        let deny = vec!["*/team-a/secret".to_owned()];
        policies.put(Policy {
            pull: PullRights { allow, deny },
            ..Policy::default()
        });
        assert!(pull(&policies, "123456789012", "team-a/app").is_ok());
        assert_eq!(
            pull(&policies, "123456789012", "team-b/app").unwrap_err(),
            "User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized to perform: ecr:BatchGetImage on \
             resource: arn:aws:ecr:land-1:123456789012:repository/team-b/app because no identity-based policy allows \
             the ecr:BatchGetImage action"
        );
        assert!(
            pull(&policies, "123456789012", "team-a/secret")
                .unwrap_err()
                .contains("explicit deny")
        );
        assert!(
            pull(&policies, "210987654321", "team-a/app")
                .unwrap_err()
                .contains("no resource-based policy")
        );
    }

    #[test]
    fn narrowest_policy_applies_alone() {
        let mut policies = Policies::default();
        policies.put(Policy {
            deny_get_authorization_token: true,
            ..Policy::default()
        });
        assert!(policies.check_mint(&principal(), "land-1").is_err());
        let role = Some("arn:aws:iam::123456789012:role/r".to_owned());
        policies.put(Policy {
            principal: role.clone(),
            ..Policy::default()
        });
        assert!(policies.check_mint(&principal(), "land-1").is_ok());
        policies.remove(role.as_deref(), None);
        assert!(policies.check_mint(&principal(), "land-1").is_err());
    }
}
