use std::convert::Infallible;
use std::path::Path;

use ecr_pull_secrets_core::config::{Config, Endpoints};
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::token::Token;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio::time::timeout;
use tower::service_fn;

use super::*;
use crate::aws::mint::Mint;
use crate::cluster::client::Clients;
use crate::cluster::look_ups::LookUps;
use crate::telemetry::metrics::Metrics;
use crate::token::store::Store;

const LIMIT: Duration = Duration::from_secs(30);

/// An answer of the API server to a write of the Secret.
type Answer = (u16, &'static str);

const WRITTEN: Answer = (200, "");
const CONFLICT: Answer = (409, "");
const BUSY: Answer = (429, "");
const OVER_QUOTA: Answer = (403, "exceeded quota");

/// An API server that has one namespace and no Secret, and a process that holds tokens for two of three
/// registries.
struct Site {
    pull_secrets: Arc<PullSecrets>,
    target: Target,
    /// One with a token, one without, and another one with a token.
    registries: [Access; 3],
    /// What the API server says to each write.
    answers: Arc<Mutex<Vec<Answer>>>,
    writes: Arc<Mutex<usize>>,
    /// The value of the namespace's label, by the API server.
    label: Arc<Mutex<&'static str>>,
}

/// The metadata of the namespace, with this label.
fn namespace(label: &str) -> ObjectMeta {
    let metadata = json!({ "name": "team", "labels": { (Wish::LABEL): label } });
    serde_json::from_value(metadata).unwrap()
}

impl Site {
    /// The process has seen the namespace, and has not opted out. The API server gives the answers in
    /// turn, and after each, `meanwhile` happens.
    fn new(
        answers: Vec<Answer>,
        mint: Mint,
        config: Config,
        meanwhile: impl Fn(&PullSecrets) + Send + Sync + 'static,
    ) -> Self {
        let answers = Arc::new(Mutex::new(answers));
        let writes: Arc<Mutex<usize>> = Arc::default();
        let label = Arc::new(Mutex::new("true"));
        let site: Arc<Mutex<Option<Arc<PullSecrets>>>> = Arc::default();
        let answer = {
            let (answers, writes) = (Arc::clone(&answers), Arc::clone(&writes));
            let (label, site) = (label.clone(), site.clone());
            move |request: &Request<Body>| {
                if request.uri().path().ends_with("/namespaces/team") {
                    let metadata = namespace(*label.lock());
                    let found = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": metadata });
                    return (200, found);
                }
                if request.method() == Method::GET {
                    return (404, refusal(404, ""));
                }
                *writes.lock() += 1;
                let (code, message) = answers.lock().remove(0);
                if let Some(pull_secrets) = &*site.lock() {
                    meanwhile(pull_secrets);
                }
                let written = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": { "name": "pull", "namespace": "team", "uid": "1", "resourceVersion": "2" } });
                let body = if code == 200 {
                    written
                } else {
                    refusal(code, message)
                };
                (code, body)
            }
        };
        let service = service_fn(move |request: Request<Body>| {
            let (code, body) = answer(&request);
            let answer = Response::builder().status(code);
            let answer = answer.body(Full::new(Bytes::from(body.to_string())));
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        let client = Client::new(service, "default");
        let clients = Clients {
            watch: client.clone(),
            call: client.clone(),
            look_ups: LookUps::default(),
        };
        let store = Store::new(&clients, "ours");
        let supply = Supply::new(mint, Metrics::default(), store);
        let namespaces = Arc::new(Namespaces::new(&clients));
        namespaces.saw(&namespace("true"));
        let registries = ["eu-west-1", "us-east-1", "eu-north-1"].map(|region| {
            let host = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
            Access {
                registry: Registry::of_host(&host).unwrap(),
                identity: Identity::Ambient,
            }
        });
        // base64 of AWS:password
        let token = Token::new("QVdTOnBhc3N3b3Jk".to_owned(), clock::now(), None).unwrap();
        for access in [&registries[0], &registries[2]] {
            supply.learn(access.token_key(), token.clone());
        }
        let ledger: Arc<Ledger> = Arc::default();
        let writer = SecretWriter::alone(client, ledger.clone());
        let pull_secrets = PullSecrets::new(Live::new(config), ledger, supply, namespaces, writer);
        *site.lock() = Some(pull_secrets.clone());
        Self {
            pull_secrets,
            target: Target::new("team", "pull"),
            registries,
            answers,
            writes,
            label,
        }
    }

    async fn ensure(&self, registries: &[Access], trigger: Trigger) -> Ensured {
        let done_by = Instant::now() + LIMIT;
        let wanted = Wanted {
            target: &self.target,
            registries,
            claim: SecretClaim::Pods(Wish::None),
            mint_by: done_by,
            done_by,
            trigger,
        };
        self.pull_secrets.ensure(wanted).await
    }
}

impl Site {
    /// The flight that is there.
    fn flight(&self) -> Arc<Flight> {
        let claim = SecretClaim::Pods(Wish::None);
        let flights = &self.pull_secrets.flights;
        flights.join(&self.target, &[], claim, false).unwrap().0
    }

    /// The standing of one registry.
    fn standing(&self, flight: &Flight, registry: usize) -> FlightStanding {
        let registry = std::slice::from_ref(&self.registries[registry]);
        flight.read(|log| log.standing(registry))
    }

    /// Waits until the flight is in this phase.
    async fn enters(flight: &Flight, phase: FlightPhase) {
        let mut changes = flight.subscribe();
        while flight.read(FlightLog::phase) != phase {
            changes.changed().await.unwrap();
        }
    }

    /// Waits until one registry has this standing.
    async fn comes(&self, flight: &Flight, registry: usize, wanted: FlightStanding) {
        let mut changes = flight.subscribe();
        while self.standing(flight, registry) != wanted {
            changes.changed().await.unwrap();
        }
    }
}

fn refusal(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "" };
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code })
}

fn unreachable() -> Mint {
    Mint::new(Path::new("none"))
}

#[tokio::test]
async fn sync_obeys_opt_out_that_no_watch_brought() {
    let site = Site::new(vec![WRITTEN], unreachable(), Config::default(), |_| ());
    *site.label.lock() = "false";
    let ensured = site.ensure(&site.registries[..1], Trigger::sync).await;
    assert_eq!(ensured, Ensured::Late(Cause::StillWorking));
    assert_eq!(*site.writes.lock(), 0);
}

/// Another writer is quicker, and this happens before the second round.
async fn contends(meanwhile: impl Fn(&PullSecrets) + Send + Sync + 'static) -> Ensured {
    let answers = vec![CONFLICT, WRITTEN];
    let site = Site::new(answers, unreachable(), Config::default(), meanwhile);
    let ensured = site.ensure(&site.registries[..1], Trigger::admission).await;
    assert_eq!(*site.writes.lock(), 1);
    ensured
}

#[tokio::test]
async fn contended_write_obeys_opt_out() {
    let ensured = contends(|of| of.namespaces.saw(&namespace("false"))).await;
    assert_eq!(ensured, Ensured::Late(Cause::StillWorking));
}

#[tokio::test]
async fn contended_write_obeys_new_rules() {
    let denies = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nrules: [{ deny: {} }]\n";
    let denies = Config::parse(denies).unwrap();
    let reloads = move |of: &PullSecrets| of.live.replace(of.live.successor(denies.clone()).0);
    let ensured = contends(reloads).await;
    assert_eq!(ensured, Ensured::Late(Cause::DeniedByRule));
}

/// A site where the second registry gets no token and no failure, and what keeps it so.
async fn silent(answers: Vec<Answer>) -> (Site, impl Sized) {
    // It accepts connections, and answers none.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = Endpoints {
        ecr: Some(format!("http://{}", silent.local_addr().unwrap())),
        sts: None,
    };
    let mut config = Config::default();
    config.endpoints.insert("us-east-1".to_owned(), endpoints);
    let keys = tempfile::tempdir().unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        std::fs::write(keys.path().join(name), "0123456789").unwrap();
    }
    let site = Site::new(answers, Mint::new(keys.path()), config, |_| ());
    (site, (silent, keys))
}

/// Wants registries, of which the second is one, and does this, until when the second has no result.
async fn beside_mint(site: &Site, registries: &[Access], does: impl AsyncFnOnce(&Flight)) {
    let works = site.ensure(registries, Trigger::admission);
    let does = async {
        let flight = site.flight();
        does(&flight).await;
        let other = site.standing(&flight, 1);
        assert!(matches!(other, FlightStanding::Pending(_)), "{other:?}");
    };
    tokio::select! {
        biased;
        ensured = works => panic!("{ensured:?}, and AWS gave no answer"),
        done = timeout(LIMIT, does) => done.expect("it takes no longer"),
    }
}

/// Wants the first two registries, and waits until the write of the first has failed. Then does this.
async fn while_minting(site: &Site, refused: Cause, does: impl AsyncFnOnce(&Flight)) {
    beside_mint(site, &site.registries[..2], async |flight: &Flight| {
        site.comes(flight, 0, FlightStanding::Failed(refused)).await;
        does(flight).await;
    })
    .await;
}

/// Wants the first registry, whose write fails, and the second one in the pause of the first. Then does this.
async fn while_minting_news(site: &Site, does: impl AsyncFnOnce(&Flight)) {
    let first = site.ensure(&site.registries[..1], Trigger::admission).await;
    assert_eq!(first, Ensured::Late(Cause::QuotaExceeded));
    Site::enters(&site.flight(), FlightPhase::Pausing).await;
    beside_mint(site, &site.registries[1..2], async |flight: &Flight| {
        Site::enters(flight, FlightPhase::Minting).await;
        does(flight).await;
        site.comes(flight, 0, FlightStanding::Done).await;
    })
    .await;
}

#[tokio::test]
async fn changed_secret_repeats_what_failed_before_the_attempt() {
    let (site, _keeps) = silent(vec![OVER_QUOTA, WRITTEN]).await;
    while_minting_news(&site, async |_: &Flight| {
        site.pull_secrets.reconsider(&site.target);
        // No other task waits for anything, and the pause has not ended by then.
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(*site.writes.lock(), 2);
    })
    .await;
}

#[tokio::test]
async fn pause_ends_within_attempt_at_new_registry() {
    let (site, _keeps) = silent(vec![OVER_QUOTA, WRITTEN]).await;
    while_minting_news(&site, async |_: &Flight| ()).await;
}

#[tokio::test]
async fn changed_secret_repeats_failed_write_of_attempt() {
    let (site, _keeps) = silent(vec![OVER_QUOTA, WRITTEN]).await;
    while_minting(&site, Cause::QuotaExceeded, async |flight: &Flight| {
        site.pull_secrets.reconsider(&site.target);
        site.comes(flight, 0, FlightStanding::Done).await;
    })
    .await;
    assert!(site.answers.lock().is_empty());
}

#[tokio::test]
async fn failed_write_of_attempt_is_repeated_in_time() {
    let (site, _keeps) = silent(vec![BUSY, BUSY, WRITTEN]).await;
    while_minting(&site, Cause::ApiServerBusy, async |flight: &Flight| {
        site.comes(flight, 0, FlightStanding::Done).await;
    })
    .await;
    assert!(site.answers.lock().is_empty());
}

#[tokio::test]
async fn new_registry_repeats_no_failed_write_of_attempt() {
    let (site, _keeps) = silent(vec![OVER_QUOTA, WRITTEN]).await;
    while_minting(&site, Cause::QuotaExceeded, async |flight: &Flight| {
        let new = site.ensure(&site.registries[2..], Trigger::admission).await;
        assert_eq!(new, Ensured::Written);
        let first = site.standing(flight, 0);
        assert_eq!(first, FlightStanding::Failed(Cause::QuotaExceeded));
    })
    .await;
}

#[tokio::test]
async fn new_registry_ends_pause_for_itself_alone() {
    let answers = vec![OVER_QUOTA, WRITTEN];
    let site = Site::new(answers, unreachable(), Config::default(), |_| ());
    let refused = Cause::QuotaExceeded;
    let ensure = |registries| site.ensure(registries, Trigger::admission);
    let first = &site.registries[..1];
    assert_eq!(ensure(first).await, Ensured::Late(refused));
    let new = &site.registries[2..];
    assert_eq!(ensure(new).await, Ensured::Written);
    let still = site.standing(&site.flight(), 0);
    assert_eq!(still, FlightStanding::Failed(refused));
}
