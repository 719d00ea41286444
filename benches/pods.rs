//! Pods per second through the real API server: with us, with a webhook that only echoes the uid, with one
//! that echoes it with our patch, with our guards and no webhook, and with nothing of ours.
//!
//! Both echoes have our listener, certificate and registration, and as many processes as we have
//! replicas. The patch costs the API server more than the call, whatever webhook sends it. So the plain
//! echo is the bound for a webhook that changes nothing, and the echo with the patch the one for us. All
//! take short turns, each round in another order, so that noise hits them alike. A webhook runs only in
//! its turn: our leader would report every pod that has no reference.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::Request;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::guards::Guards;
use crate::harness::namespace::{ACCOUNT, SECRET, pod, references};
use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, eventually};
use crate::nothing::{Handler, Nothing};
use crate::report::{Report, few, median};
use crate::site::{Site, name};
use crate::subject::{ALL, Rates, Webhook, order};

const REGISTRATION: &str = "zz-ecr-pull-secrets";
/// Clients that create pods without a pause, each in a namespace of its own.
const CLIENTS: [usize; 2] = [16, 4];
/// Replicas of a webhook, as the chart has them.
const REPLICAS: usize = 2;
/// Rounds that count. One before them warms all caches.
const ROUNDS: usize = 5;
/// Time at the start of a turn that does not count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Time of a turn that counts.
const TURN: Duration = Duration::from_millis(2500);

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("pods: {CLIENTS:?} clients");
    let bench = Bench::start().await;
    let mut rates = CLIENTS.map(|_| Rates::default());
    for round in 0..=few(ROUNDS) {
        for webhook in order(round) {
            for (rates, pods) in rates.iter_mut().zip(bench.slot(webhook).await) {
                if round > 0 {
                    rates.0[webhook as usize].push(pods);
                }
            }
        }
        if round > 0 {
            let last = |webhook, rates: &Rates| rates.of(webhook)[round - 1];
            let line =
                |rates| ALL.map(|webhook| format!("{webhook} {:.0}/s", last(webhook, rates)));
            let lines = rates.iter().map(|rates| line(rates).join(", "));
            println!("  {}", lines.collect::<Vec<_>>().join("; "));
        }
    }
    for (clients, rates) in CLIENTS.iter().zip(&rates) {
        // The figures of 16 clients are older than the others, and keep their names.
        let suffix = match clients {
            16 => String::new(),
            clients => format!("_{clients}_clients"),
        };
        for webhook in ALL {
            let name = format!("pods_per_second_{webhook}{suffix}");
            report.figure(&name, median(rates.of(webhook)));
        }
        for webhook in [Webhook::Echo, Webhook::Patch] {
            report.figure(
                &format!("pods_vs_{webhook}{suffix}"),
                rates.ours_of(webhook),
            );
        }
        let guards = rates.ratio(Webhook::Guards, Webhook::Absent);
        report.figure(&format!("pods_guards_vs_without{suffix}"), guards);
        report.note(format!(
            "pods through the API server, {clients} clients, {REPLICAS} replicas: ours is {:.3} of a webhook that echoes the uid, \
             {:.3} of one that echoes it with our patch, and {:.2} of none and no guards; the guards alone are {guards:.3} of \
             none, by the median of {} rounds",
            rates.ours_of(Webhook::Echo),
            rates.ours_of(Webhook::Patch),
            rates.ours_of(Webhook::Absent),
            rates.of(Webhook::Ours).len(),
        ));
    }
    bench.site.stop();
}

/// What all turns share.
struct Bench {
    site: Site,
    registrations: Api<MutatingWebhookConfiguration>,
    /// The chart's registration, which is there only while a webhook has its turn.
    registration: MutatingWebhookConfiguration,
    guards: Guards,
}

/// The processes of a webhook.
enum Running {
    Ours(Vec<Replica>),
    Echo(Vec<Nothing>),
    Absent,
}

/// The API server's count of webhook calls.
#[derive(Clone, Copy, PartialEq)]
struct Calls {
    all: f64,
    /// Calls that failed, after which the pod was created without the webhook.
    failed_open: f64,
}

impl Bench {
    async fn start() -> Self {
        let site = Site::start().await;
        site.namespaces(0..CLIENTS[0]).await;
        let registrations: Api<MutatingWebhookConfiguration> =
            Api::all(site.cluster.client.clone());
        let mut registration = registrations.get(REGISTRATION).await.expect("the chart's");
        registration.metadata = ObjectMeta {
            name: Some(REGISTRATION.to_owned()),
            labels: registration.metadata.labels,
            annotations: registration.metadata.annotations,
            ..ObjectMeta::default()
        };
        let bench = Self {
            guards: Guards::read(&site).await,
            site,
            registrations,
            registration,
        };
        bench.unregister().await;
        bench
    }

    /// A webhook's turn with each number of clients: pods per second.
    async fn slot(&self, webhook: Webhook) -> [f64; 2] {
        if webhook == Webhook::Absent {
            self.guards.remove().await;
        }
        let running = self.run(webhook).await;
        let rates = [
            self.turn(webhook, CLIENTS[0]).await,
            self.turn(webhook, CLIENTS[1]).await,
        ];
        if webhook.is_called() {
            self.unregister().await;
        }
        if webhook == Webhook::Absent {
            self.guards.restore().await;
        }
        running.end().await;
        self.remove_pods().await;
        rates
    }

    /// Starts a webhook, and waits until the API server calls it, or none.
    async fn run(&self, webhook: Webhook) -> Running {
        let running = match webhook {
            Webhook::Ours => {
                let start = |_| self.site.start_replica();
                Running::Ours((0..REPLICAS).map(start).collect())
            }
            Webhook::Echo => self.echo(Handler::Echo),
            Webhook::Patch => self.echo(Handler::Patch),
            Webhook::Guards | Webhook::Absent => Running::Absent,
        };
        let addresses = running.ready().await;
        if webhook.is_called() {
            self.site
                .cluster
                .route(&format!("{OURS}/{OURS}"), &addresses);
            let create = PostParams::default();
            let created = self.registrations.create(&create, &self.registration).await;
            created.expect("a registration");
        }
        // The API server reads a registration, or that it is gone, a little later.
        eventually("the API server calls this webhook", LIMIT, || async {
            let before = self.calls().await;
            let pod = self.create(0, "probe", true).await;
            let after = self.calls().await;
            let is_called = after.all > before.all && after.failed_open == before.failed_open;
            let is_right = is_called == webhook.is_called();
            (is_right && names_secret(&pod) == webhook.injects()).then_some(())
        })
        .await;
        running
    }

    fn echo(&self, handler: Handler) -> Running {
        let start = |_| Nothing::start(&self.site, handler);
        Running::Echo((0..REPLICAS).map(start).collect())
    }

    /// Pods per second.
    async fn turn(&self, webhook: Webhook, clients: usize) -> f64 {
        let before = self.calls().await;
        let (created, counted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now() + WARM_UP;
        let end = begun + TURN;
        let client = async |client: usize| {
            for number in 0.. {
                let pod = format!("pod-{clients}-{number}");
                let pod = self.create(client, &pod, false).await;
                assert_eq!(names_secret(&pod), webhook.injects(), "the reference");
                created.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                if now >= end {
                    break;
                }
                if now >= begun {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        join_all((0..clients).map(client)).await;
        let after = self.calls().await;
        let called = if webhook.is_called() {
            created.into_inner()
        } else {
            0
        };
        assert_eq!(
            after.all - before.all,
            called as f64,
            "one call for each pod"
        );
        assert_eq!(
            after.failed_open, before.failed_open,
            "every call succeeded"
        );
        counted.into_inner() as f64 / TURN.as_secs_f64()
    }

    async fn create(&self, namespace: usize, called: &str, dry_run: bool) -> Pod {
        let image = format!("{}/app:v1", self.site.region.host(ACCOUNT));
        let mut pod = pod(called, &image);
        pod["spec"]["schedulerName"] = json!("none");
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let created = self.pods(namespace).create(&params, &pod).await;
        created.expect("a pod")
    }

    fn pods(&self, namespace: usize) -> Api<Pod> {
        Api::namespaced(self.site.cluster.client.clone(), &name(namespace))
    }

    async fn unregister(&self) {
        let params = DeleteParams::default();
        let deleted = self.registrations.delete(REGISTRATION, &params).await;
        deleted.expect("no registration");
    }

    /// The next webhook finds the same cluster.
    async fn remove_pods(&self) {
        let (now, all) = (
            DeleteParams::default().grace_period(0),
            ListParams::default(),
        );
        let remove = async |namespace| {
            let removed = self.pods(namespace).delete_collection(&now, &all).await;
            removed.expect("no pods");
        };
        join_all((0..CLIENTS[0]).map(remove)).await;
    }

    async fn calls(&self) -> Calls {
        let request = Request::get("/metrics").body(Vec::new());
        let client = &self.site.cluster.client;
        let metrics = client.request_text(request.expect("a request")).await;
        let metrics = metrics.expect("metrics");
        let sum = |metric: &str| {
            let ours = metrics.lines().filter(|line| {
                line.starts_with(metric) && line.contains("name=\"pods.ecr-pull-secrets.dev\"")
            });
            ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        Calls {
            all: sum("apiserver_admission_webhook_request_total{"),
            failed_open: sum("apiserver_admission_webhook_fail_open_count{"),
        }
    }
}

impl Running {
    /// Waits until all answer and one of ours leads; the addresses.
    async fn ready(&self) -> Vec<String> {
        match self {
            Self::Ours(replicas) => {
                for replica in replicas {
                    replica.ready().await;
                }
                eventually("a leader", LIMIT, || async {
                    let leads =
                        async |one: &Replica| one.metric("ecr_pull_secrets_leader", &[]).await;
                    let leads = join_all(replicas.iter().map(leads)).await;
                    (leads.iter().sum::<f64>() > 0.0).then_some(())
                })
                .await;
                replicas.iter().map(|one| one.https.to_string()).collect()
            }
            Self::Echo(handlers) => {
                for handler in handlers {
                    handler.ready().await;
                }
                handlers.iter().map(|one| one.address.to_string()).collect()
            }
            Self::Absent => Vec::new(),
        }
    }

    /// Ends ours as a Deployment does, one after another: the next leader need not wait for the lease.
    async fn end(self) {
        if let Self::Ours(replicas) = self {
            for replica in replicas {
                replica.terminate();
                replica.ended().await;
            }
        }
    }
}

fn names_secret(pod: &Pod) -> bool {
    references(pod).iter().any(|name| name == SECRET)
}
