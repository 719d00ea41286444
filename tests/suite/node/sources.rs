//! `certificate.source` changes as `certs/README.md` says, while pods are created without a pause.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clients::{Clients, Created, is_served};
use super::missed::reviews_done_without;
use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, eventually};

trials!(certificate_source_changes_without_a_missed_pod);

/// Number of further pods after each change.
const MORE: usize = 100;

async fn certificate_source_changes_without_a_missed_pod(world: Arc<NodeWorld>) -> Outcome {
    let before = reviews_done_without(&world);
    let clients = Clients::start(&world).await;
    let ca = world.run_kubectl(&format!(
        r"-n {OURS} get secret ecr-pull-secrets-tls -o jsonpath={{.data.ca\.crt}}"
    ));
    let bundle = format!("webhook.caBundle={ca}");
    let own = ["--set", "certificate.source=secret", "--set", &bundle];
    world.upgrade(&own);
    world.roll_out();
    more(&clients).await;
    let Created {
        created,
        bare,
        refused,
    } = clients.stop().await;
    assert_eq!((bare, refused), (0, BTreeMap::new()), "of {created} pods");
    assert_eq!(reviews_done_without(&world), before);
    clients.remove().await;

    let back = ["certificate.source=selfSigned", "webhook.caBundle="];
    world.upgrade(&["--set", back[0], "--set", back[1]]);
    world.run_kubectl(&format!("-n {OURS} delete secret ecr-pull-secrets-tls"));
    world.roll_out();
    let clients = Clients::start(&world).await;
    more(&clients).await;
    let Created { refused, .. } = clients.stop().await;
    assert_eq!(refused, BTreeMap::new());
    assert!(clients.stored().await.iter().all(is_served));
    clients.remove().await;
    Ok(())
}

async fn more(clients: &Clients) {
    let before = clients.count();
    eventually("more pods", LIMIT, || async {
        (clients.count() > before + MORE).then_some(())
    })
    .await;
}
