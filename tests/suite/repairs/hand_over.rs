//! A leader that gets no token from AWS, beside a replica that does.

use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::spec::{Fault, Verdict};
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::json;

use super::site::{Site, logged};
use crate::frame::trials;
use crate::harness::launch::free_address;
use crate::harness::namespace::{Namespace, SECRET, pod};
use crate::harness::{Outcome, docker, eventually, review};

trials!(leader_without_aws_hands_over);

/// Longer than the leader waits for AWS, and than the next one for its first sweep.
const LONG: Duration = Duration::from_secs(180);

/// A pod that names the pull Secret, as if a replica had answered.
async fn naming(namespace: &Namespace) {
    let mut naming = pod("pod", &namespace.image("app"));
    naming["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    naming["spec"]["schedulerName"] = json!("none");
    namespace.create::<Pod>(naming).await.expect("a pod");
}

async fn opens(namespace: &Namespace, what: &str) -> Secret {
    eventually(what, LONG, || async {
        let secret = namespace.secret().await?;
        let verdict = namespace.verdict(&secret, "app").await;
        (verdict == Verdict::Accepted).then_some(secret)
    })
    .await
}

async fn leader_without_aws_hands_over(site: Arc<Site>) -> Outcome {
    let [first, expired, provisioned] = [
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
    ];
    let hosts = [first.host(), expired.host(), provisioned.host()];
    // The configuration names the regions: none of them may be an invention.
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "provision": [
            { "namespaces": [&provisioned.name], "registries": [&hosts[2]] },
            { "namespaces": ["no-such-namespace"], "registries": [&hosts[0], &hosts[1]] },
        ],
    })
    .to_string();
    // Nothing listens at its address of AWS.
    let cut_off = site.add(&config, &format!("http://{}", free_address()));
    cut_off.ready().await;
    site.leader().await;
    let other = site.add(&config, site.aws.url());
    other.ready().await;
    // Too short for a replica that does not lead.
    let lifetime = Fault::Lifetime { seconds: 20 };
    expired.region.fault(lifetime).await?;
    let request = review::of_pod(&expired.name, &pod("pod", &expired.image("app")));
    assert_eq!(
        review::warnings(&review::answer(&other, &request).await),
        ""
    );
    let old = expired.assert_opens().await;
    expired.region.clear_faults().await?;
    naming(&expired).await;
    naming(&first).await;

    opens(&provisioned, "the provisioned Secret").await;
    opens(&first, "the first token of a pod").await;
    let new = eventually("the token after the expired one", LONG, || async {
        let secret = expired.secret().await?;
        let host = expired.host();
        (docker::auth(&secret, &host) != docker::auth(&old, &host)).then_some(secret)
    })
    .await;
    assert_eq!(expired.verdict(&new, "app").await, Verdict::Accepted);
    assert!(Arc::ptr_eq(&site.leader().await, &other));
    assert_eq!(logged(&cut_off, "\"gave the lease back\""), 1);
    assert_eq!(logged(&other, "\"gave the lease back\""), 0);
    Ok(())
}
