//! The replicas without keys: with the chart's value `aws.roleArn`, the kubelet projects a token of their ServiceAccount, and
//! STS exchanges it for short sessions. In AWS there is what an operator sets up.

use super::world::NodeWorld;
use crate::harness::namespace::ACCOUNT;
use crate::oidc::site::{Setup, publish};

/// OIDC provider and role, and the replicas that use them.
pub struct Keyless<'a> {
    setup: Setup<'a>,
    world: &'a NodeWorld,
}

impl<'a> Keyless<'a> {
    /// Replaces the replicas by ones without keys.
    pub async fn begin(world: &'a NodeWorld) -> Self {
        publish(world, &world.issuer);
        let setup = Setup::new(world, &world.issuer, ACCOUNT).await;
        setup.limit_sessions().await;
        let role = format!("aws.roleArn={}", setup.role);
        world.upgrade(&["--set", &role, "--set", "aws.tokenSeconds=600"]);
        world.roll_out();
        Self { setup, world }
    }

    /// The sessions that STS has issued to them.
    pub async fn sessions(&self) -> u64 {
        self.setup.calls().await.1
    }

    /// Replaces them by ones with the keys of the chart's Secret.
    pub fn end(self) {
        self.world.upgrade(&["--set", "aws.roleArn="]);
        self.world.roll_out();
    }
}
