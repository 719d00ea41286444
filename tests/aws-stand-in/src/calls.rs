//! Counts of calls and pulls, by result.

use std::collections::BTreeMap;

use crate::{
    EcrHost,
    spec::{CallCount, PullCount, Verdict},
};

/// What calls are counted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallKey {
    pub(crate) principal: String,
    pub(crate) region: String,
    pub(crate) action: String,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    total: u64,
    succeeded: u64,
    failed: u64,
}

/// The counts since the start or since the last clear.
#[derive(Default)]
pub(crate) struct Calls {
    calls: BTreeMap<CallKey, Tally>,
    /// Keyed by region, account, repository, object, verdict.
    pulls: BTreeMap<(String, String, String, &'static str, Verdict), u64>,
}

impl Calls {
    /// Counts a call that has arrived; it may never end.
    pub(crate) fn arrived(&mut self, key: &CallKey) {
        self.calls.entry(key.clone()).or_default().total += 1;
    }

    pub(crate) fn ended(&mut self, key: &CallKey, succeeded: bool) {
        let tally = self.calls.entry(key.clone()).or_default();
        if succeeded {
            tally.succeeded += 1;
        } else {
            tally.failed += 1;
        }
    }

    pub(crate) fn pulled(
        &mut self,
        registry: &EcrHost,
        repository: &str,
        object: &'static str,
        verdict: Verdict,
    ) {
        let EcrHost { account, region } = registry.clone();
        *self
            .pulls
            .entry((region, account, repository.to_owned(), object, verdict))
            .or_default() += 1;
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = CallCount> {
        self.calls.iter().map(|(key, tally)| {
            let CallKey {
                principal,
                region,
                action,
            } = key.clone();
            let Tally {
                total,
                succeeded,
                failed,
            } = *tally;
            CallCount {
                principal,
                region,
                action,
                total,
                succeeded,
                failed,
            }
        })
    }

    pub(crate) fn pulls(&self) -> impl Iterator<Item = PullCount> {
        self.pulls.iter().map(
            |((region, account, repository, object, verdict), total)| PullCount {
                region: region.clone(),
                account: account.clone(),
                repository: repository.clone(),
                object: (*object).to_owned(),
                verdict: *verdict,
                total: *total,
            },
        )
    }

    /// Deletes the counts of one region, or all.
    pub(crate) fn clear(&mut self, region: Option<&str>) {
        let kept = |of: &str| region.is_some_and(|region| region != of);
        self.calls.retain(|key, _| kept(&key.region));
        self.pulls.retain(|key, _| kept(&key.0));
    }
}
