//! The serving certificate from files that the kubelet swaps under a running process.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use http::{Request, StatusCode, header};
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, eventually, review};

trials!(
    no_request_fails_during_ten_file_swaps,
    bad_files_never_replace_good_ones,
    expired_certificate_fails_readiness_and_is_logged,
);

const SWAPS: u32 = 10;
/// Pause between two requests of a client: other tests run at the same time.
const PACE: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3600);
const EXPIRY: &str = "ecr_pull_secrets_certificate_expiry_timestamp_seconds";
const RELOADS: &str = "ecr_pull_secrets_certificate_reloads_total";

/// A Secret volume: names that link to `..data`, which links to a directory that is swapped.
struct Volume {
    directory: TempDir,
    ca: String,
    issuer: Issuer<'static, KeyPair>,
    versions: AtomicU32,
}

impl Volume {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        fs::write(directory.path().join("ca.crt"), &ca).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            ca,
            issuer: Issuer::new(params, key),
            versions: AtomicU32::new(0),
        }
    }

    /// A leaf with this lifetime, and its key.
    fn leaf(&self, life: Duration) -> (String, String) {
        self.leaf_for(&format!("{OURS}.{OURS}.svc"), life)
    }

    fn leaf_for(&self, name: &str, life: Duration) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = (SystemTime::UNIX_EPOCH + since_epoch() + life).into();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    fn swap(&self, (chain, key): &(String, String)) {
        let root = self.directory.path();
        let number = self.versions.fetch_add(1, Ordering::Relaxed);
        let version = format!("..version-{number}");
        fs::create_dir(root.join(&version)).unwrap();
        fs::write(root.join(&version).join("tls.crt"), chain).unwrap();
        fs::write(root.join(&version).join("tls.key"), key).unwrap();
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Some(before) = number.checked_sub(1) {
            fs::remove_dir_all(root.join(format!("..version-{before}"))).unwrap();
        }
    }

    fn replica(&self, world: &World, name: &str) -> Replica {
        world
            .replica(name)
            .certificates(self.directory.path())
            .start()
    }

    async fn shown(&self, replica: &Replica) -> Vec<u8> {
        let leaf = replica.leaf(self.ca.as_bytes()).await;
        leaf.expect("a certificate that its CA signed")
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a certificate ends by the wall clock"
)]
fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("a time after 1970")
}

async fn no_request_fails_during_ten_file_swaps(world: Arc<World>) -> Outcome {
    let volume = Volume::new();
    volume.swap(&volume.leaf(HOUR));
    let replica = volume.replica(&world, "swapped");
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let body = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app"))).to_string();
    let request = || {
        Request::post("/mutate?timeout=5s")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.clone()))
            .unwrap()
    };
    let is_done = AtomicBool::new(false);
    // One connection after another, each until the replica closes it.
    let keeps = async {
        let mut connection = replica.connect().await.expect("a connection");
        let mut count = 0;
        while !is_done.load(Ordering::Relaxed) {
            let answer = connection.send(request()).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            count += 1;
            // The API server does the same at `Connection: close`.
            if answer.headers().contains_key(header::CONNECTION) {
                connection = replica.connect().await.expect("a connection");
            }
            sleep(PACE).await;
        }
        count
    };
    // A handshake for each request.
    let comes = async {
        let mut count = 0;
        while !is_done.load(Ordering::Relaxed) {
            let answer = replica.send(request()).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            count += 1;
            sleep(PACE).await;
        }
        count
    };
    let swaps = async {
        let mut seen = vec![volume.shown(&replica).await];
        for _ in 0..SWAPS {
            volume.swap(&volume.leaf(HOUR));
            let new = eventually("the new certificate", LIMIT, || async {
                let leaf = volume.shown(&replica).await;
                (!seen.contains(&leaf)).then_some(leaf)
            })
            .await;
            seen.push(new);
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let (kept, came, ()) = tokio::join!(keeps, comes, swaps);
    println!("{SWAPS} swaps: {kept} requests on one connection, {came} on as many");
    assert!(kept > 100 && came > 100);
    assert!(replica.metric(RELOADS, &["error"]).await < 0.1);
    assert!((replica.metric(RELOADS, &["ok"]).await - f64::from(SWAPS + 1)).abs() < 0.1);
    Ok(())
}

async fn bad_files_never_replace_good_ones(world: Arc<World>) -> Outcome {
    let volume = Volume::new();
    let good = volume.leaf(HOUR);
    volume.swap(&good);
    let replica = volume.replica(&world, "wronged");
    replica.ready().await;
    let leaf = volume.shown(&replica).await;
    let (other_chain, _) = volume.leaf(HOUR);
    let truncated = good.0[..good.0.len() / 2].to_owned();
    let wrong = [
        (truncated, good.1.clone()),
        (other_chain, good.1.clone()),
        // This leaf is expired.
        volume.leaf(Duration::ZERO),
        // This leaf is for an ingress.
        volume.leaf_for("shop.example", HOUR),
    ];
    for (number, pair) in (1_u32..).zip(&wrong) {
        volume.swap(pair);
        eventually("the files are refused", LIMIT, || async {
            let refused = replica.metric(RELOADS, &["error"]).await;
            (refused > f64::from(number) - 0.5).then_some(())
        })
        .await;
        assert_eq!(volume.shown(&replica).await, leaf);
    }
    let (status, _) = replica.get("/readyz").await.expect("an answer");
    assert_eq!(status, StatusCode::OK);
    Ok(())
}

async fn expired_certificate_fails_readiness_and_is_logged(world: Arc<World>) -> Outcome {
    let volume = Volume::new();
    volume.swap(&volume.leaf(Duration::from_secs(5)));
    let replica = volume.replica(&world, "expired");
    let expired = (
        StatusCode::SERVICE_UNAVAILABLE,
        "serving certificate expired\n".to_owned(),
    );
    eventually("readiness reports the expiry", LIMIT, || async {
        (replica.get("/readyz").await? == expired).then_some(())
    })
    .await;
    let end = replica.metric(EXPIRY, &[]).await;
    assert!(end > 1.7e9 && end <= since_epoch().as_secs_f64());
    eventually("the log reports the expiry", LIMIT, || async {
        let log = fs::read_to_string(&replica.log).expect("a log");
        log.contains("certificate_expired").then_some(())
    })
    .await;
    volume.swap(&volume.leaf(HOUR));
    replica.ready().await;
    Ok(())
}
