//! The client's view of one region. It keeps tests that run in parallel apart.

use bytes::Bytes;
use http::Method;

use super::{Client, Error, encode};
use crate::spec::{Absent, Action, CallCount, Clock, Expire, Fault, FaultRule, Policy, PullCount};

/// The region of a stand-in that a test owns.
#[derive(Clone)]
pub struct Region {
    client: Client,
    region: String,
}

impl Region {
    pub(super) fn new(client: Client, region: &str) -> Self {
        Self {
            client,
            region: region.to_owned(),
        }
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.region
    }

    /// The client of the whole stand-in.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The endpoint for unsigned STS calls, which then count for this region.
    pub fn endpoint(&self) -> String {
        format!("{}/in/{}/", self.client.url, self.region)
    }

    /// The standard host name of an account's registry in this region.
    pub fn host(&self, account: &str) -> String {
        crate::EcrHost {
            account: account.to_owned(),
            region: self.region.clone(),
        }
        .name()
    }

    /// A fault rule for this region; the caller may narrow it further.
    pub fn rule(&self, fault: Fault) -> FaultRule {
        FaultRule {
            region: Some(self.region.clone()),
            principal: None,
            action: None,
            times: None,
            fault,
        }
    }

    /// Adds a fault that lasts until it is cleared.
    pub async fn fault(&self, fault: Fault) -> Result<(), Error> {
        self.client.fault(&self.rule(fault)).await
    }

    /// Adds a fault for the next `times` calls.
    pub async fn fault_times(&self, fault: Fault, times: u64) -> Result<(), Error> {
        self.client
            .fault(&FaultRule {
                times: Some(times),
                ..self.rule(fault)
            })
            .await
    }

    /// Adds a fault for one action; that of the registry is [`Action::Pull`].
    pub async fn fault_of(&self, action: Action, fault: Fault) -> Result<(), Error> {
        self.client
            .fault(&FaultRule {
                action: Some(action),
                ..self.rule(fault)
            })
            .await
    }

    /// Removes the faults of this region.
    pub async fn clear_faults(&self) -> Result<(), Error> {
        let path = format!("/admin/faults?region={}", encode(&self.region));
        self.client
            .send(Method::DELETE, &path, Bytes::new())
            .await
            .map(drop)
    }

    /// Sets this region's clock, in seconds ahead of the system's clock.
    pub async fn clock(&self, offset_seconds: i64) -> Result<(), Error> {
        self.client
            .clock(&Clock {
                region: Some(self.region.clone()),
                offset_seconds,
            })
            .await
    }

    /// Sets a policy for this region only.
    pub async fn policy(&self, policy: Policy) -> Result<(), Error> {
        self.client
            .policy(&Policy {
                region: Some(self.region.clone()),
                ..policy
            })
            .await
    }

    /// Expires this region's registry tokens now.
    pub async fn expire_tokens(&self) -> Result<(), Error> {
        self.client
            .expire(&Expire {
                region: Some(self.region.clone()),
                ..Expire::default()
            })
            .await
    }

    /// Removes a repository, or one of its tags, in this region.
    pub async fn absent(&self, repository: &str, tag: Option<&str>) -> Result<(), Error> {
        let region = Some(self.region.clone());
        self.client
            .absent(&Absent {
                region,
                repository: repository.to_owned(),
                tag: tag.map(str::to_owned),
            })
            .await
    }

    /// The counts of calls in this region.
    pub async fn calls(&self) -> Result<Vec<CallCount>, Error> {
        self.client
            .get(&format!("/admin/calls?region={}", encode(&self.region)))
            .await
    }

    /// The counts of one action in this region, summed over all callers.
    pub async fn total(&self, action: Action) -> Result<Total, Error> {
        let calls = self.calls().await?;
        let mine = calls.iter().filter(|count| count.action == action.name());
        Ok(mine.fold(Total::default(), |sum, count| Total {
            total: sum.total + count.total,
            succeeded: sum.succeeded + count.succeeded,
            failed: sum.failed + count.failed,
        }))
    }

    /// The expiries of all tokens of this region, in Unix seconds, sorted.
    pub async fn expiries(&self) -> Result<Vec<i64>, Error> {
        self.client
            .get(&format!("/admin/expiries?region={}", encode(&self.region)))
            .await
    }

    /// The counts of pulls in this region.
    pub async fn pulls(&self) -> Result<Vec<PullCount>, Error> {
        self.client
            .get(&format!("/admin/pulls?region={}", encode(&self.region)))
            .await
    }

    /// Deletes the counts of this region.
    pub async fn clear_counts(&self) -> Result<(), Error> {
        let path = format!("/admin/calls?region={}", encode(&self.region));
        self.client
            .send(Method::DELETE, &path, Bytes::new())
            .await
            .map(drop)
    }
}

/// A sum of [`CallCount`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Calls that arrived.
    pub total: u64,
    /// Calls answered with HTTP 200.
    pub succeeded: u64,
    /// Calls refused or reset.
    pub failed: u64,
}
