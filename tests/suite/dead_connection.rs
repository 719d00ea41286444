//! A connection to the API server that dies silently, as when a load balancer forgets it: each packet on
//! it is lost, and new connections work.
//!
//! The packets are dropped by rules of the kernel for these connections alone, which needs root and
//! Linux. The rules go with the test.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace as V1Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use libtest_mimic::Trial;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::frame;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::tools::run;
use crate::harness::{Outcome, World, eventually, kubeconfig, review};
use crate::node::where_possible;

/// The tests of this module, ignored where they cannot run.
pub fn trials() -> Vec<Trial> {
    where_possible(vec![frame::trial(
        "dead_connection::silent_connection_blinds_watches_for_75_seconds",
        super::shared,
        silent_connection_blinds_watches_for_75_seconds,
    )])
}

/// A way to the API server, whose established connections can go silent.
struct Way {
    address: SocketAddr,
    /// The ports at the other end of the connections.
    peers: Arc<Mutex<Vec<u16>>>,
    rules: Vec<[String; 2]>,
}

impl Way {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = server.trim_start_matches("https://").to_owned();
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = peers.clone();
        tokio::spawn(async move {
            while let Ok((mut near, peer)) = listener.accept().await {
                seen.lock().push(peer.port());
                let server = server.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self {
            address,
            peers,
            rules: Vec::new(),
        }
    }

    /// Drops each packet of the connections that there are now.
    fn silence(&mut self) {
        let way = self.address.port().to_string();
        for peer in std::mem::take(&mut *self.peers.lock()) {
            let peer = peer.to_string();
            for ends in [[peer.clone(), way.clone()], [way.clone(), peer.clone()]] {
                rule("-I", &ends);
                self.rules.push(ends);
            }
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for ends in &self.rules {
            rule("-D", ends);
        }
    }
}

/// Adds or removes the rule that drops packets from one port of loopback to another.
fn rule(change: &str, [from, to]: &[String; 2]) {
    let mut iptables = Command::new("iptables");
    iptables.args(["-w", change, "INPUT", "-i", "lo", "-p", "tcp"]);
    run(iptables.args(["--sport", from, "--dport", to, "-j", "DROP"]));
}

async fn silent_connection_blinds_watches_for_75_seconds(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let mut way = Way::to(&world.cluster.server).await;
    let path = world.directory().join("way.kubeconfig");
    kubeconfig::write(&world.cluster, &path).await;
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", way.address));
    fs::write(&path, config.to_string())?;
    let replica = world.replica("way").kubeconfig(&path).start();
    replica.ready().await;
    let request = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let is_served = || async { review::adds_reference(&review::answer(&replica, &request).await) };
    assert!(is_served().await);
    namespace.assert_opens().await;

    way.silence();
    let namespaces: Api<V1Namespace> = Api::all(namespace.client.clone());
    let out = json!({ "metadata": { "labels": { "ecr-pull-secrets.dev/inject": "false" } } });
    let params = PatchParams::default();
    namespaces
        .patch(&namespace.name, &params, &Patch::Merge(out))
        .await?;
    assert!(is_served().await, "the watch is blind");
    let limit = Duration::from_secs(75);
    eventually("the replica sees the label", limit, || async {
        (!is_served().await).then_some(())
    })
    .await;
    replica.stop();
    Ok(())
}
