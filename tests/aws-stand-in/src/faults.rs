//! Which faults apply to a call, and how often a limited fault still applies.

use std::mem;

use crate::{
    identity::Principal,
    spec::{Action, Fault, FaultRule, HostileAnswer},
};

/// The rules in force, the widest first.
#[derive(Default)]
pub(crate) struct Faults(Vec<FaultRule>);

/// What rules match a call by.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) region: &'a str,
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) action: Action,
}

/// The combined faults of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) delay_milliseconds: u64,
    /// At most one of `Hang` and `Reset`.
    pub(crate) transport: Option<Fault>,
    /// At most one of `Error`, `Throttling`, `ThrottleException`.
    pub(crate) refusal: Option<Fault>,
    pub(crate) empty: bool,
    pub(crate) malformed: bool,
    pub(crate) hostile: Option<HostileAnswer>,
    pub(crate) lifetime: Option<i64>,
    pub(crate) stated_lifetime: Option<i64>,
    pub(crate) no_expiry: bool,
}

impl Faults {
    pub(crate) fn put(&mut self, rule: FaultRule) {
        self.0
            .retain(|old| !(same_selector(old, &rule) && same_kind(&old.fault, &rule.fault)));
        self.0.push(rule);
        // The sort is stable: of two equally narrow rules, the later one is applied last and wins.
        self.0.sort_by_key(narrowness);
    }

    /// Removes the rules with exactly this region, principal and action; `None` matches every rule.
    pub(crate) fn remove(
        &mut self,
        region: Option<&str>,
        principal: Option<&str>,
        action: Option<Action>,
    ) {
        self.0.retain(|rule| {
            region.is_some_and(|region| rule.region.as_deref() != Some(region))
                || principal.is_some_and(|principal| rule.principal.as_deref() != Some(principal))
                || action.is_some_and(|action| rule.action != Some(action))
        });
    }

    pub(crate) fn rules(&self) -> &[FaultRule] {
        &self.0
    }

    /// The faults that apply to this call. Each limited rule among them then applies once less.
    pub(crate) fn apply(&mut self, subject: Subject<'_>) -> Effects {
        let mut effects = Effects::default();
        for rule in self.0.iter_mut().filter(|rule| holds(rule, subject)) {
            if let Some(times) = &mut rule.times {
                *times = times.saturating_sub(1);
            }
            effects.add(&rule.fault);
        }
        self.0.retain(|rule| rule.times != Some(0));
        effects
    }
}

impl Effects {
    fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::Lifetime { seconds } => self.lifetime = Some(*seconds),
            Fault::StatedLifetime { seconds } => self.stated_lifetime = Some(*seconds),
            Fault::NoExpiry => self.no_expiry = true,
            Fault::Delay { milliseconds } => self.delay_milliseconds = *milliseconds,
            Fault::Hang | Fault::Reset => self.transport = Some(fault.clone()),
            Fault::Error { .. } | Fault::Throttling | Fault::ThrottleException => {
                self.refusal = Some(fault.clone())
            }
            Fault::Empty => self.empty = true,
            Fault::Malformed => self.malformed = true,
            Fault::Hostile { answer } => self.hostile = Some(*answer),
        }
    }
}

fn holds(rule: &FaultRule, subject: Subject<'_>) -> bool {
    let concerns_expiry = matches!(
        rule.fault,
        Fault::Lifetime { .. } | Fault::StatedLifetime { .. } | Fault::NoExpiry
    );
    let action = match rule.action {
        Some(action) => action == subject.action,
        // Without an action, a fault of the expiry applies to tokens, and no fault applies to pulls.
        None if concerns_expiry => subject.action == Action::GetAuthorizationToken,
        None => subject.action != Action::Pull,
    };
    action
        && rule
            .region
            .as_deref()
            .is_none_or(|region| region == subject.region)
        && rule.principal.as_deref().is_none_or(|pattern| {
            subject
                .principal
                .is_some_and(|principal| principal.is_meant_by(pattern))
        })
        && rule.times != Some(0)
}

fn narrowness(rule: &FaultRule) -> usize {
    usize::from(rule.region.is_some())
        + usize::from(rule.principal.is_some())
        + usize::from(rule.action.is_some())
}

fn same_selector(one: &FaultRule, other: &FaultRule) -> bool {
    (&one.region, &one.principal, one.action) == (&other.region, &other.principal, other.action)
}

fn same_kind(one: &Fault, other: &Fault) -> bool {
    mem::discriminant(one) == mem::discriminant(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(region: Option<&str>, fault: Fault) -> FaultRule {
        FaultRule {
            region: region.map(str::to_owned),
            principal: None,
            action: None,
            times: None,
            fault,
        }
    }

    fn mint(region: &str) -> Subject<'_> {
        Subject {
            region,
            principal: None,
            action: Action::GetAuthorizationToken,
        }
    }

    #[test]
    fn regional_rule_wins_in_its_region_only() {
        let mut faults = Faults::default();
        faults.put(rule(Some("land-1"), Fault::Lifetime { seconds: 5 }));
        faults.put(rule(None, Fault::Lifetime { seconds: 60 }));
        assert_eq!(faults.apply(mint("land-1")).lifetime, Some(5));
        assert_eq!(faults.apply(mint("land-2")).lifetime, Some(60));
    }

    #[test]
    fn limited_rule_ends_after_its_last_call() {
        let mut faults = Faults::default();
        faults.put(FaultRule {
            times: Some(2),
            ..rule(None, Fault::Throttling)
        });
        let refused = std::iter::repeat_with(|| faults.apply(mint("x")).refusal.is_some());
        assert_eq!(
            refused.take(4).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn pulls_and_sessions_fail_only_when_named() {
        let mut faults = Faults::default();
        faults.put(rule(None, Fault::Throttling));
        faults.put(rule(None, Fault::Lifetime { seconds: 5 }));
        let at = |action| Subject {
            region: "x",
            principal: None,
            action,
        };
        assert_eq!(faults.apply(at(Action::Pull)), Effects::default());
        assert_eq!(faults.apply(at(Action::AssumeRole)).lifetime, None);
        faults.put(FaultRule {
            action: Some(Action::Pull),
            ..rule(None, Fault::Hang)
        });
        assert_eq!(faults.apply(at(Action::Pull)).transport, Some(Fault::Hang));
    }

    #[test]
    fn repeated_fault_replaces_and_removal_is_exact() {
        let mut faults = Faults::default();
        faults.put(rule(Some("a"), Fault::Delay { milliseconds: 1 }));
        faults.put(rule(Some("a"), Fault::Delay { milliseconds: 2 }));
        faults.put(rule(None, Fault::Hang));
        assert_eq!(faults.rules().len(), 2);
        faults.remove(Some("b"), None, None);
        assert_eq!(faults.rules().len(), 2);
        faults.remove(Some("a"), None, None);
        assert_eq!(faults.rules(), [rule(None, Fault::Hang)]);
        faults.remove(None, None, None);
        assert!(faults.rules().is_empty());
    }
}
