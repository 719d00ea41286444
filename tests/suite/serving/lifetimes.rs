//! Certificates with lifetimes of seconds: leaves and CAs are renewed, and no pod is missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::site::{Site, text};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::{Outcome, eventually};

trials!(
    pods_get_the_reference_through_every_renewal,
    restored_expired_certificate_is_not_served,
);

/// Lifetime of a leaf. A CA lives for six of them, and is replaced after four.
const LIFETIME: &str = "15s";
/// Time for a CA to be replaced and forgotten.
const LIMIT: Duration = Duration::from_secs(180);

/// A backup restores an expired certificate.
async fn restored_expired_certificate_is_not_served(site: Arc<Site>) -> Outcome {
    let replica = site.open(1, "10s").await.remove(0);
    let backup = site.secret().await.data;
    // The third leaf is signed after the first has expired.
    let mut leaf = text(&site.secret().await, "tls.crt");
    for _ in 0..2 {
        leaf = eventually("the next certificate", LIMIT, || async {
            Some(text(&site.secret().await, "tls.crt")).filter(|new| *new != leaf)
        })
        .await;
    }
    site.corrupt(json!({ "data": backup })).await;
    eventually("another certificate in the Secret", LIMIT, || async {
        (site.secret().await.data != backup).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(&replica.log)?;
    let taken_up = log
        .lines()
        .filter(|line| line.contains("certificate loaded"));
    let ends: Vec<String> = taken_up
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["not_after"].as_str().expect("a time").to_owned()
        })
        .collect();
    assert!(ends.len() > 2 && ends.is_sorted(), "{ends:?}");
    Ok(())
}

async fn pods_get_the_reference_through_every_renewal(site: Arc<Site>) -> Outcome {
    let replicas = site.open(2, LIFETIME).await;
    let (namespace, missed) = (Namespace::new(&site).await, site.missed().await);
    let image = namespace.image("app");
    let first = text(&site.secret().await, "ca.crt");
    let (mut leaves, mut bundles) = (BTreeSet::new(), Vec::new());
    let mut pods = 0;
    let deadline = Instant::now() + LIMIT;
    // The loop ends when the bundle no longer has the first CA.
    loop {
        let pod = namespace.pod(&format!("pod-{pods}"), &image).await;
        assert_eq!(references(&pod), [SECRET], "pod {pods}");
        pods += 1;
        // The API server reuses its connections. A new client must trust the leaf, too.
        let bundle = site.bundle().await;
        for replica in &replicas {
            replica.leaf(&bundle).await?;
        }
        let secret = site.secret().await;
        leaves.insert(text(&secret, "tls.crt"));
        let bundle = text(&secret, "ca.crt");
        if bundles.last() != Some(&bundle) {
            bundles.push(bundle.clone());
        }
        if !bundle.contains(&first) {
            break;
        }
        assert!(Instant::now() < deadline, "the first CA is still there");
    }
    assert!((site.missed().await - missed).abs() < 0.1);
    let counts: Vec<usize> = bundles
        .iter()
        .map(|bundle| bundle.matches("BEGIN CERTIFICATE").count())
        .collect();
    assert_eq!(counts, [1, 2, 1], "both in between");
    assert!(leaves.len() > 5, "{} leaves", leaves.len());
    println!(
        "{pods} pods, {} leaves, {} bundles",
        leaves.len(),
        bundles.len()
    );
    eventually(
        "every replica serves what is in the Secret",
        LIMIT,
        || async {
            let cas = text(&site.secret().await, "ca.crt");
            let one = replicas[0].leaf(cas.as_bytes()).await.ok()?;
            let other = replicas[1].leaf(cas.as_bytes()).await.ok()?;
            (one == other).then_some(())
        },
    )
    .await;
    Ok(())
}
