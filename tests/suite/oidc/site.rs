//! A cluster whose issuer is public, and what an operator sets up for it in AWS.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_stand_in::issuer_host::{DISCOVERY, IssuerHost, KEY_SET};
use aws_stand_in::spec::{Action, Fault, FaultRule, OidcProvider, Role, WebIdentity};
use serde_json::Value;

use crate::harness::cluster::Cluster;
use crate::harness::launch::Launch;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::{World, kubeconfig};
use crate::leaks::{ask, without_keys};

/// The issuer that an API server has by default.
pub const INTERNAL: &str = "https://kubernetes.default.svc";
/// The audience that the chart asks for.
pub const AUDIENCE: &str = "sts.amazonaws.com";
/// Our ServiceAccount, as the token names it.
pub const OUR_SUBJECT: &str = "system:serviceaccount:ecr-pull-secrets:ecr-pull-secrets";
/// Lifetime in seconds of sessions that a test sees end.
pub const SESSION: u64 = 60;
/// The shortest lifetime that the API server grants.
const TOKEN_SECONDS: i64 = 600;

/// A world without replicas at first, and the public host of its issuer.
pub struct Site {
    world: Arc<World>,
    /// The public host.
    pub host: IssuerHost,
    /// A replica without keys that leads, and the file of its token.
    pub keyless: (Arc<Replica>, PathBuf),
}

/// The account of its role.
pub const KEYLESS: &str = "123456789012";

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Site {
    /// Starts control plane and AWS, installs the chart, publishes the documents of the issuer, and waits for the first
    /// token, with which STS knows the issuer's key.
    pub async fn start() -> Self {
        let host = IssuerHost::start().await.expect("a host");
        let flags = flags(&host, &[&host.url(), INTERNAL]);
        let world = World::builder().api_server_flags(&flags).start().await;
        publish(&world, &host);
        let setup = Setup::new(&world, &host, KEYLESS).await;
        setup.limit_sessions().await;
        let (launch, file) = setup.launch("keyless").await;
        // One session serves all regions.
        let launch = launch.env("AWS_REGION", "home-land-1");
        let replica = world.add_replica(|_| launch);
        world.route().await;
        let namespace = Namespace::new(&world).await;
        ask(&replica, &namespace, namespace.region.name()).await;
        namespace.assert_opens().await;
        let keyless = (replica, file);
        Self {
            world,
            host,
            keyless,
        }
    }

    /// Copies the documents of the API server to the public host.
    pub fn publish(&self) {
        publish(self, &self.host);
    }

    /// Restarts the API server with these flags in place of those of the same name.
    pub fn restart_api_server(&self, flags: &[String]) {
        self.cluster.command("stop kube-apiserver");
        let start = format!("start kube-apiserver {}", flags.join(" "));
        self.cluster.command(&start);
    }

    /// Creates the OIDC provider of an account, and a role that trusts our ServiceAccount.
    pub async fn set_up(&self, account: &str) -> Setup<'_> {
        Setup::new(&self.world, &self.host, account).await
    }
}

/// Copies the documents of an API server to a public host.
pub fn publish(world: &World, host: &IssuerHost) {
    for path in [DISCOVERY, KEY_SET] {
        let text = world.run_kubectl(&format!("get --raw {path}"));
        let document: Value = serde_json::from_str(&text).expect("JSON");
        host.publish(path, &document);
    }
}

/// Flags of an API server with these issuers, of which the first one signs. Their documents are on a host.
pub fn flags(host: &IssuerHost, issuers: &[&str]) -> Vec<String> {
    let issuers = issuers.iter();
    let issuers = issuers.map(|url| format!("--service-account-issuer={url}"));
    let others = [
        format!("--service-account-jwks-uri={}{KEY_SET}", host.url()),
        format!("--api-audiences={INTERNAL}"),
    ];
    issuers.chain(others).collect()
}

/// A token of our ServiceAccount for STS.
pub async fn token(cluster: &Cluster) -> String {
    kubeconfig::token(cluster, &[AUDIENCE], TOKEN_SECONDS).await
}

/// The calls of an action by principals whose ARN contains a text: all, and those that succeeded.
pub async fn calls(world: &World, principal: &str, action: Action) -> (u64, u64) {
    let counts = world.aws.calls().await.expect("counts");
    let of_action = counts.iter().filter(|count| count.action == action.name());
    let matching = of_action.filter(|count| count.principal.contains(principal));
    matching.fold((0, 0), |(total, succeeded), count| {
        (total + count.total, succeeded + count.succeeded)
    })
}

/// Replaces a token, as the kubelet does: at one moment.
pub fn write(path: &Path, token: &str) {
    let next = path.with_extension("next");
    fs::write(&next, token).expect("a file");
    fs::rename(next, path).expect("the same folder");
}

/// OIDC provider and role in an account.
pub struct Setup<'a> {
    world: &'a World,
    /// The public host of the issuer.
    pub host: &'a IssuerHost,
    account: String,
    /// ARN of the role.
    pub role: String,
}

impl<'a> Setup<'a> {
    /// Creates both.
    pub async fn new(world: &'a World, host: &'a IssuerHost, account: &str) -> Self {
        let setup = Self {
            world,
            host,
            account: account.to_owned(),
            role: format!("arn:aws:iam::{account}:role/puller"),
        };
        setup.know_of(host).await;
        setup
    }

    /// Makes the issuer known to the account, with this audience.
    pub async fn know(&self, audience: &str) {
        self.create_provider(self.host, audience).await;
    }

    /// Makes another issuer known to the account, and has the role trust it.
    pub async fn know_of(&self, host: &IssuerHost) {
        self.create_provider(host, AUDIENCE).await;
        self.create_role(host, OUR_SUBJECT).await;
    }

    async fn create_provider(&self, host: &IssuerHost, audience: &str) {
        let provider = OidcProvider {
            account: self.account.clone(),
            issuer: host.url(),
            client_ids: vec![audience.to_owned()],
            authority: host.authority().to_owned(),
        };
        let created = self.world.aws.oidc_provider(&provider).await;
        created.expect("a provider");
    }

    /// Removes the provider.
    pub async fn forget(&self) {
        let url = self.host.url();
        let removed = self.world.aws.remove_oidc_provider(&self.account, &url);
        removed.await.expect("it is gone");
    }

    /// Lets the role trust this subject alone.
    pub async fn trust(&self, subject: &str) {
        self.create_role(self.host, subject).await;
    }

    async fn create_role(&self, host: &IssuerHost, subject: &str) {
        let role = Role {
            arn: self.role.clone(),
            external_id: None,
            trusts: Vec::new(),
            web_identities: vec![WebIdentity {
                issuer: host.url(),
                subject: subject.to_owned(),
            }],
            max_session_seconds: 3600,
        };
        self.world.aws.role(&role).await.expect("a role");
    }

    /// Has the role's sessions last for [`SESSION`].
    pub async fn limit_sessions(&self) {
        let seconds = SESSION.cast_signed();
        let lifetime = FaultRule {
            region: None,
            principal: Some(self.role.clone()),
            action: Some(Action::AssumeRoleWithWebIdentity),
            times: None,
            fault: Fault::Lifetime { seconds },
        };
        let limited = self.world.aws.fault(&lifetime).await;
        limited.expect("a lifetime");
    }

    /// The calls for a session of the role: all, and those that succeeded.
    pub async fn calls(&self) -> (u64, u64) {
        calls(self.world, &self.role, Action::AssumeRoleWithWebIdentity).await
    }

    /// A replica without keys that asks for this role, and the file of its token.
    pub async fn launch(&self, name: &str) -> (Launch, PathBuf) {
        let path = self.world.directory().join(format!("{name}.token"));
        write(&path, &token(&self.world.cluster).await);
        let launch = without_keys(self.world.replica(name))
            .env("AWS_ROLE_ARN", &self.role)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", path.display().to_string())
            .env("AWS_ROLE_SESSION_NAME", "ecr-pull-secrets");
        (launch, path)
    }
}
