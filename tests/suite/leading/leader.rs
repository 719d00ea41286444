//! One of three replicas leads, through faults of the leader and of the Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, World, eventually};

trials!(
    leader_of_three_hands_over_at_sigterm,
    killed_leader_is_replaced,
    leader_frozen_past_its_lease_stops_leading,
    deleted_lease_is_recreated_by_its_holder,
    edited_lease_stays_with_its_holder,
    leader_without_rights_stops_and_is_replaced,
    missing_right_is_logged_once_without_a_leader,
    replica_without_watches_never_leads,
);

/// Log line when the API server denies access to the Lease.
const TROUBLE: &str = "cannot take part in the election";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Three replicas with a Lease of their own.
struct Three {
    namespace: Namespace,
    replicas: Vec<Replica>,
}

impl Three {
    async fn start(world: &Arc<World>) -> Self {
        let namespace = Namespace::new(world).await;
        grant(&namespace, true).await;
        let this = Self {
            replicas: (0..3)
                .map(|_| candidate(world, &namespace, CONFIG))
                .collect(),
            namespace,
        };
        // A replica that is not ready does not stand for election.
        for replica in &this.replicas {
            replica.ready().await;
        }
        this.leader("one of three leads").await;
        this
    }

    fn leases(&self) -> Api<Lease> {
        self.namespace.api()
    }

    async fn lease(&self) -> Lease {
        self.leases().get(OURS).await.expect("the Lease")
    }

    /// Running replicas that say that they lead.
    async fn leaders(&self) -> Vec<&Replica> {
        let mut leaders = Vec::new();
        for replica in &self.replicas {
            if leads(replica).await == Some(true) {
                leaders.push(replica);
            }
        }
        leaders
    }

    /// The only leader, once the Lease names it, too.
    async fn leader(&self, what: &str) -> &Replica {
        eventually(what, LIMIT, || async {
            let [leader] = self.leaders().await[..] else {
                return None;
            };
            let lease = self.leases().get_opt(OURS).await.expect("an answer")?;
            (holder(&lease) == name(leader)).then_some(leader)
        })
        .await
    }
}

/// Grants our ServiceAccount the rights of a replica in a namespace, with or without the Lease.
pub async fn grant(namespace: &Namespace, with_lease: bool) {
    let role = json!({ "metadata": { "name": OURS }, "rules": rights(with_lease) });
    namespace.create::<Role>(role).await.expect("a Role");
    let binding = json!({
        "metadata": { "name": OURS },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OURS },
        "subjects": [{ "kind": "ServiceAccount", "name": OURS, "namespace": OURS }],
    });
    namespace
        .create::<RoleBinding>(binding)
        .await
        .expect("a RoleBinding");
}

fn rights(with_lease: bool) -> Value {
    let store = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["ecr-pull-secrets-tokens"],
        "verbs": ["get", "list", "watch", "create", "patch"],
    });
    let lease = json!({
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [OURS],
        "verbs": ["get", "create", "patch"],
    });
    if with_lease {
        json!([store, lease])
    } else {
        json!([store])
    }
}

/// Starts a replica whose own namespace is this one.
pub fn candidate(world: &World, namespace: &Namespace, config: &str) -> Replica {
    let name = format!("candidate-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    world
        .replica(&name)
        .config(config)
        .env("ECR_PULL_SECRETS_NAMESPACE", &namespace.name)
        .start()
}

/// Name of the replica, from its log file.
fn name(replica: &Replica) -> String {
    let stem = replica.log.file_stem().expect("a name");
    stem.to_string_lossy().into_owned()
}

/// Whether a replica says that it leads; `None` while it does not answer.
pub async fn leads(replica: &Replica) -> Option<bool> {
    let (_, text) = replica.get("/metrics").await?;
    Some(text.lines().any(|line| line == "ecr_pull_secrets_leader 1"))
}

fn spec(lease: &Lease) -> LeaseSpec {
    lease.spec.clone().expect("a spec")
}

fn holder(lease: &Lease) -> String {
    spec(lease).holder_identity.unwrap_or_default()
}

fn managers(lease: &Lease) -> Vec<String> {
    let fields = lease.metadata.managed_fields.iter().flatten();
    fields.filter_map(|entry| entry.manager.clone()).collect()
}

fn logged(replica: &Replica, text: &str) -> usize {
    let log = std::fs::read_to_string(&replica.log).expect("a log");
    log.lines().filter(|line| line.contains(text)).count()
}

/// Waits until the holder has renewed the Lease again.
async fn renewed(three: &Three, since: &Lease) -> Lease {
    eventually("the holder renews", LIMIT, || async {
        let lease = three.lease().await;
        (spec(&lease).renew_time != spec(since).renew_time).then_some(lease)
    })
    .await
}

async fn leader_of_three_hands_over_at_sigterm(world: Arc<World>) -> Outcome {
    let mut three = Three::start(&world).await;
    for hand_over in 0..3 {
        let leader = three.leader("one leads").await;
        let name = name(leader);
        let lease = three.lease().await;
        assert_eq!(spec(&lease).lease_transitions, Some(hand_over));
        assert_eq!(spec(&lease).lease_duration_seconds, Some(15));
        assert!(managers(&lease).contains(&name), "{:?}", managers(&lease));
        // The leader leads until SIGTERM and no longer.
        leader.terminate();
        assert_eq!(leader.ended().await, 0);
        assert_eq!(logged(leader, "\"gave the lease back\""), 1);
        let index = three
            .replicas
            .iter()
            .position(|replica| self::name(replica) == name);
        three.replicas.remove(index.expect("it is one of them"));
        three
            .replicas
            .push(candidate(&world, &three.namespace, CONFIG));
        three.leader("another leads").await;
        // The next leader did not wait for the Lease to expire.
        let time = |time: Option<MicroTime>| time.expect("a time").0;
        let took = time(spec(&three.lease().await).acquire_time);
        let waited = took.duration_since(time(spec(&lease).renew_time));
        assert!(waited < SignedDuration::from_secs(15), "{waited}");
    }
    let lease = three.lease().await;
    // Former holders own no field of the Lease.
    assert!(managers(&lease).len() <= 3, "{:?}", managers(&lease));
    Ok(())
}

async fn killed_leader_is_replaced(world: Arc<World>) -> Outcome {
    let three = Three::start(&world).await;
    let leader = three.leader("one leads").await;
    let lease = three.lease().await;
    leader.stop();
    let next = three.leader("another leads").await;
    assert_ne!(name(next), name(leader));
    let now = three.lease().await;
    assert_eq!(spec(&now).lease_transitions, Some(1));
    assert_eq!(now.metadata.uid, lease.metadata.uid);
    assert!(spec(&now).acquire_time > spec(&lease).acquire_time);
    Ok(())
}

async fn leader_frozen_past_its_lease_stops_leading(world: Arc<World>) -> Outcome {
    let three = Three::start(&world).await;
    let leader = three.leader("one leads").await;
    let name_of_old = name(leader);
    leader.freeze();
    let next = eventually("another leads", LIMIT, || async {
        let holder = holder(&three.lease().await);
        let next = three
            .replicas
            .iter()
            .find(|replica| name(replica) == holder)?;
        (name(next) != name_of_old && leads(next).await?).then_some(next)
    })
    .await;
    let lease = three.lease().await;
    leader.thaw();
    eventually("the old leader does not lead", LIMIT, || async {
        (!leads(leader).await?).then_some(())
    })
    .await;
    let later = renewed(&three, &renewed(&three, &lease).await).await;
    assert_eq!(holder(&later), name(next));
    assert_eq!(
        spec(&later).lease_transitions,
        spec(&lease).lease_transitions
    );
    let leaders = three.leaders().await;
    assert_eq!(leaders.len(), 1);
    assert_eq!(name(leaders[0]), name(next));
    assert_eq!(logged(leader, "\"leading\""), 1);
    assert_eq!(logged(leader, "\"not leading any more\""), 1);
    Ok(())
}

async fn deleted_lease_is_recreated_by_its_holder(world: Arc<World>) -> Outcome {
    let three = Three::start(&world).await;
    let leader = three.leader("one leads").await;
    let lease = three.lease().await;
    three
        .leases()
        .delete(OURS, &DeleteParams::default())
        .await?;
    let again = eventually("a Lease", LIMIT, || async {
        three.leases().get_opt(OURS).await.expect("an answer")
    })
    .await;
    assert_ne!(again.metadata.uid, lease.metadata.uid);
    assert_eq!(holder(&again), name(leader));
    assert_eq!(name(three.leader("one leads").await), name(leader));
    assert_eq!(logged(leader, "\"leading\""), 1);
    assert_eq!(logged(leader, "\"not leading any more\""), 0);
    Ok(())
}

async fn edited_lease_stays_with_its_holder(world: Arc<World>) -> Outcome {
    let three = Three::start(&world).await;
    let leader = three.leader("one leads").await;
    let patch = |patch: Value| {
        let leases = three.leases();
        async move {
            let params = PatchParams::default();
            leases.patch(OURS, &params, &Patch::Merge(patch)).await
        }
    };
    let mut lease = patch(json!({ "metadata": { "labels": { "a": "b" } } })).await?;
    for _ in 0..2 {
        lease = renewed(&three, &lease).await;
    }
    assert_eq!(holder(&lease), name(leader));
    assert_eq!(logged(leader, "\"not leading any more\""), 0);
    // A manual edit takes the Lease away from its holder.
    patch(json!({ "spec": { "holderIdentity": "another", "renewTime": null } })).await?;
    eventually("no replica leads", LIMIT, || async {
        three.leaders().await.is_empty().then_some(())
    })
    .await;
    // A holder that does not renew the Lease loses it.
    three.leader("one of ours leads").await;
    Ok(())
}

async fn leader_without_rights_stops_and_is_replaced(world: Arc<World>) -> Outcome {
    let three = Three::start(&world).await;
    let leader = three.leader("one leads").await;
    let told = three
        .replicas
        .iter()
        .map(|replica| logged(replica, TROUBLE));
    let told: Vec<usize> = told.collect();
    let bindings: Api<RoleBinding> = three.namespace.api();
    let mut binding = bindings.get(OURS).await?;
    bindings.delete(OURS, &DeleteParams::default()).await?;
    eventually("no replica leads", LIMIT, || async {
        three.leaders().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(logged(leader, "\"not leading any more\""), 1);
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await?;
    three.leader("one leads again").await;
    for (replica, before) in three.replicas.iter().zip(told) {
        assert_eq!(logged(replica, TROUBLE), before + 1);
    }
    Ok(())
}

async fn missing_right_is_logged_once_without_a_leader(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    grant(&namespace, false).await;
    let alone = candidate(&world, &namespace, CONFIG);
    alone.ready().await;
    // The replica is ready, because admission does not depend on the Lease.
    eventually("more than one round", LIMIT, || async {
        (logged(&alone, "no part of the election") >= 2).then_some(())
    })
    .await;
    assert_eq!(logged(&alone, TROUBLE), 1);
    assert_eq!(leads(&alone).await, Some(false));
    let rules = Patch::Merge(json!({ "rules": rights(true) }));
    let roles: Api<Role> = namespace.api();
    roles.patch(OURS, &PatchParams::default(), &rules).await?;
    eventually("the replica leads", LIMIT, || async {
        leads(&alone).await?.then_some(())
    })
    .await;
    assert_eq!(logged(&alone, TROUBLE), 1);
    Ok(())
}

/// Its Role exists, but the ClusterRole has another name for the pull Secret.
async fn replica_without_watches_never_leads(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    grant(&namespace, true).await;
    let config = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, secret: {name: unknown}}";
    let blind = candidate(&world, &namespace, config);
    eventually("the replica tried", LIMIT, || async {
        (logged(&blind, "the watch was interrupted") >= 2).then_some(())
    })
    .await;
    let other = candidate(&world, &namespace, CONFIG);
    eventually("another replica leads", LIMIT, || async {
        leads(&other).await?.then_some(())
    })
    .await;
    let lease: Lease = namespace.api().get(OURS).await?;
    assert_eq!(spec(&lease).lease_transitions, Some(0));
    assert_eq!(leads(&blind).await, Some(false));
    Ok(())
}
