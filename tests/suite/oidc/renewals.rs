//! The whole way, for minutes: kubelet, STS and ECR each renew what they issue, and the registry stays open.

use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::spec::{Action, Fault, Verdict};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::{Instant, interval};

use super::site::{KEYLESS, Site, calls, token, write};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{Outcome, review};
use crate::leaks::{ask, log};

trials!(registry_stays_open_over_three_sessions);

/// Lifetime of a token of ECR in seconds.
const TOKEN: i64 = 20;
/// Sessions after the first one.
const RENEWALS: u64 = 3;
/// Pause between two looks.
const PACE: Duration = Duration::from_secs(1);
/// Looks between two tokens of the ServiceAccount.
const LOOKS: u64 = 20;
/// Far more than the sessions last.
const LIMIT: Duration = Duration::from_mins(8);

async fn registry_stays_open_over_three_sessions(site: Arc<Site>) -> Outcome {
    let (replica, file) = &site.keyless;
    let namespace = Namespace::new(&site).await;
    let tokens = Fault::Lifetime { seconds: TOKEN };
    namespace.region.fault(tokens).await?;
    let mut waiting = pod("pod", &namespace.image("app"));
    waiting["spec"]["schedulerName"] = json!("none");
    let stored: Pod = namespace.create(waiting).await?;
    assert_eq!(references(&stored), [SECRET]);
    let first = namespace.assert_opens().await;

    let (begun, mut ticks) = (Instant::now(), interval(PACE));
    let mut minted = 0;
    for look in 1_u64.. {
        ticks.tick().await;
        let secret = namespace.secret().await.expect("the Secret stays");
        let verdict = namespace.verdict(&secret, "app").await;
        assert_eq!(verdict, Verdict::Accepted, "look {look}");
        if look.is_multiple_of(LOOKS) {
            write(file, &token(&site.cluster).await);
        }
        let (_, sessions) = calls(&site, KEYLESS, Action::AssumeRoleWithWebIdentity).await;
        if sessions > RENEWALS {
            (_, minted) = calls(&site, KEYLESS, Action::GetAuthorizationToken).await;
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{sessions} sessions");
    }
    let (sessions, took) = (RENEWALS + 1, begun.elapsed().as_secs());
    println!("{minted} tokens with {sessions} sessions in {took} s");
    assert!(minted > sessions, "a session serves several tokens");
    let last = namespace.secret().await.expect("the Secret stays");
    assert_eq!(first.metadata.uid, last.metadata.uid);
    let answer = ask(replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    let (_, text) = log(replica);
    assert!(!text.contains("cannot mint a token"), "each call succeeds");
    Ok(())
}
