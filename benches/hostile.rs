//! Latency of honest requests beside hostile clients, and the memory that those leave behind.
//!
//! The replica has one core, and all clients share another. Honest clients have priority there, so that
//! they wait for the replica and not for the handshakes of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::{Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::cores::{CLIENT, SERVER, on_core, yield_to_others};
use crate::harness::namespace::{ACCOUNT, pod};
use crate::harness::replica::{Connection, Replica};
use crate::harness::{LIMIT, eventually, review};
use crate::process::Process;
use crate::report::{Report, median, quantiles};
use crate::site::{Site, name};

/// Honest keep-alive connections, requests of each in a turn, and the interval between two.
pub const HONEST: usize = 8;
const REQUESTS: usize = 500;
const EVERY: Duration = Duration::from_millis(20);
/// Resolution of the timer.
const TICK: Duration = Duration::from_millis(1);
/// Turns with and without hostile clients.
const TURNS: usize = 3;
const IDLE: usize = 1000;
const SLOW: usize = 500;
/// Pause between two bad requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Time from the last hostile request until memory is read.
const LATER: Duration = Duration::from_secs(10);

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("hostile: {HONEST} honest connections");
    let site = Site::start().await;
    site.namespaces(0..1).await;
    let replica = Arc::new(on_core(SERVER, || site.start_replica()));
    replica.ready().await;
    site.first_secret(&replica).await;
    let review: Arc<str> = review_of(&site).into();
    let requests: Arc<[Vec<u8>]> = bad_requests(&site).into();
    let (good, bad) = (clients(0), clients(19));
    let connect = async || {
        let replica = replica.clone();
        let all =
            good.spawn(async move { join_all((0..HONEST).map(|_| connected(&replica))).await });
        all.await.expect("they are accepted")
    };
    let ask = async |connections: Vec<Connection>| {
        let (replica, review) = (replica.clone(), review.clone());
        let seen = good.spawn(async move {
            let old = p99(&replica, &review, connections);
            tokio::join!(old, new_connections(&replica, &review))
        });
        seen.await.expect("all answers")
    };
    ask(connect().await).await;
    alone(&replica).await;
    let process = Process::of(&replica);
    let baseline = process.mib("VmRSS");
    process.forget_peak();

    let (mut quiet, mut beside, mut answered) = (Vec::new(), Vec::new(), 0);
    let (mut left, mut quiet_new, mut beside_new) =
        (Vec::new(), Vec::new(), NewConnections::default());
    for _ in 0..TURNS {
        let (undisturbed, new) = ask(connect().await).await;
        quiet.push(undisturbed);
        quiet_new.extend(new.times);
        let connections = connect().await;
        let (over, is_over) = watch::channel(false);
        let crowd = bad.spawn(hostile(replica.clone(), requests.clone(), is_over));
        let (late, new) = ask(connections).await;
        beside.push(late);
        beside_new.times.extend(new.times);
        beside_new.lost += new.lost;
        over.send_replace(true);
        answered += crowd.await.expect("they end");
        alone(&replica).await;
        sleep(LATER).await;
        left.push(process.mib("VmRSS"));
        println!(
            "  p99 quiet {:.2} ms, beside them {late:.2} ms; {:.1} MiB are left, {:.1} of them anonymous",
            quiet[quiet.len() - 1],
            left[left.len() - 1],
            process.mib("RssAnon"),
        );
    }
    good.shutdown_background();
    bad.shutdown_background();
    let peak = process.mib("VmHWM");
    let (first, after) = (left[0], left[left.len() - 1]);
    let (quiet, beside) = (median(&quiet), median(&beside));
    let [new, slowest] = quantiles(&beside_new.times, [0.5, 1.0]);
    let [new_alone, slowest_alone] = quantiles(&quiet_new, [0.5, 1.0]);
    let (count, lost) = (beside_new.times.len(), beside_new.lost);
    report.figure("hostile_p99_ratio", beside / quiet);
    report.figure("hostile_memory_growth_mib", after - baseline);
    report.note(format!(
        "{HONEST} honest connections beside {IDLE} idle handshakes, {SLOW} slow bodies and {answered} bad requests: p99 \
         from the due time {beside:.2} ms, {quiet:.2} without them; {count} new connections meanwhile: first answer after \
         {new:.0} ms in the median and {slowest:.0} at most ({new_alone:.0} and {slowest_alone:.0} without them), {lost} \
         evicted before it; memory {baseline:.1} MiB before, {peak:.1} at the peak, {first:.1} after the first turn and \
         {after:.1} after the last"
    ));
    site.stop();
}

/// Starts a thread for clients on their core, with this niceness.
pub fn clients(nice: i32) -> Runtime {
    let start = || {
        Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || yield_to_others(nice))
            .enable_all()
            .build()
    };
    on_core(CLIENT, start).expect("a runtime")
}

/// A review of about 4 KB. Its namespace has its Secret.
pub fn review_of(site: &Site) -> String {
    let mut pod = pod("pod", &format!("{}/app:v1", site.region.host(ACCOUNT)));
    pod["metadata"]["annotations"] = json!({ "about": "x".repeat(3500) });
    review::of_pod(&name(0), &pod).to_string()
}

async fn alone(replica: &Replica) {
    eventually("the last connection ends", LIMIT, || async {
        let open = replica.metric("ecr_pull_secrets_connections", &[]).await;
        (open < 1.0).then_some(())
    })
    .await;
}

/// Connects. Under load a new connection may be evicted, so it is tried again.
pub async fn connected(replica: &Replica) -> Connection {
    eventually("a connection", LIMIT, || replica.connect()).await
}

/// Honest clients with new connections.
#[derive(Default)]
struct NewConnections {
    /// Times from connect to first answer, in ms.
    times: Vec<f64>,
    /// Connections without an answer.
    lost: usize,
}

/// Connects again and again, one connection at a time.
async fn new_connections(replica: &Replica, review: &str) -> NewConnections {
    let mut tick = interval(EVERY * 10);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut seen = NewConnections::default();
    for _ in 0..REQUESTS / 10 {
        tick.tick().await;
        let begun = Instant::now();
        while !is_answered(replica, review).await {
            assert!(begun.elapsed() < LIMIT, "no answer");
            seen.lost += 1;
        }
        seen.times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    seen
}

/// Whether a review on a new connection is answered.
async fn is_answered(replica: &Replica, review: &str) -> bool {
    let Some(mut connection) = replica.connect().await else {
        return false;
    };
    let answer = connection.send(request_of(review)).await;
    answer.is_some_and(|answer| answer.status() == 200)
}

fn request_of(review: &str) -> Request<Full<Bytes>> {
    Request::post("/mutate?timeout=5s")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(review.to_owned()))
        .expect("a request")
}

/// 99th percentile of the honest requests of a turn, in ms. In this open loop each request is timed from
/// when it was due, so that a stall counts for every request that it delays.
pub async fn p99(replica: &Replica, review: &str, connections: Vec<Connection>) -> f64 {
    let one = async |(number, mut connection): (usize, Connection)| {
        let mut times = Vec::with_capacity(REQUESTS);
        // The connections do not ask in the same instant.
        sleep(EVERY * u32::try_from(number).expect("few") / 8).await;
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..REQUESTS {
            let due = tick.tick().await;
            let now = Instant::now();
            // The timer's own delay does not count.
            let begun = if now < due + TICK { now } else { due };
            let answer = connection.send(request_of(review)).await;
            let answer = answer.expect("an answer");
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(answer.status(), 200);
            if answer.headers().contains_key(header::CONNECTION) {
                connection = connected(replica).await;
            }
        }
        times
    };
    let all = join_all(connections.into_iter().enumerate().map(one));
    let [p99] = quantiles(&all.await.concat(), [0.99]);
    p99
}

/// Runs all hostile clients until the turn is over; the number of bad requests.
async fn hostile(
    replica: Arc<Replica>,
    requests: Arc<[Vec<u8>]>,
    mut over: watch::Receiver<bool>,
) -> u64 {
    let sent = AtomicU64::new(0);
    let idle = join_all((0..IDLE).map(|_| silent(&replica)));
    let slow = join_all((0..SLOW).map(|_| in_drops(&replica)));
    let bad = async {
        for request in requests.iter().cycle() {
            say(&replica, request).await;
            sent.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
        }
    };
    // Clients that still wait for a connection end as well.
    tokio::select! {
        _ = idle => {}
        _ = slow => {}
        () = bad => {}
        _ = over.wait_for(|over| *over) => {}
    }
    sent.into_inner()
}

/// Connects without a handshake, and again whenever the replica closes the connection.
async fn silent(replica: &Replica) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(replica.https).await {
            let _ = stream.read(&mut [0]).await;
        }
        sleep(PAUSE).await;
    }
}

/// Sends a body of one byte per second until the replica closes the connection, and then another.
async fn in_drops(replica: &Replica) {
    let head = head("Content-Length: 4000\r\n");
    loop {
        let Some(mut stream) = replica.handshake().await else {
            sleep(PAUSE).await;
            continue;
        };
        let _ = stream.write_all(head.as_bytes()).await;
        let mut byte = [0];
        while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
            let ended = timeout(Duration::from_secs(1), stream.read(&mut byte)).await;
            if ended.is_ok() {
                break;
            }
        }
    }
}

/// Sends bytes, and waits for an answer or the end of the connection.
async fn say(replica: &Replica, bytes: &[u8]) {
    if let Some(mut stream) = replica.handshake().await {
        if stream.write_all(bytes).await.is_ok() {
            let _ = stream.flush().await;
        }
        let mut answer = [0; 1024];
        let _ = timeout(Duration::from_secs(1), stream.read(&mut answer)).await;
    }
}

fn head(headers: &str) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{headers}\r\n"
    )
}

fn bad_requests(site: &Site) -> Vec<Vec<u8>> {
    let with = |headers: &str, body: &[u8]| {
        let length = format!("Content-Length: {}\r\n{headers}", body.len());
        [head(&length).as_bytes(), body].concat()
    };
    let containers = json!([{ "name": "c", "image": "busybox" }]).to_string();
    let containers = containers.trim_matches(['[', ']']);
    let mut many = pod("pod", "busybox");
    many["spec"]["containers"] = json!("MANY");
    let many = review::of_pod("default", &many).to_string();
    let many = many.replace(
        "\"MANY\"",
        &format!("[{}]", vec![containers; 10_000].join(",")),
    );
    let image = format!("{}/app:v1", site.region.host(ACCOUNT));
    let absent = review::of_pod("nowhere", &pod("pod", &image)).to_string();
    let foreign = review::of_pod("kube-public", &pod("pod", &image)).to_string();
    let no_pod = review::of_pod("default", &json!(null)).to_string();
    vec![
        with("", &vec![b' '; 8 * 1024 * 1024]),
        with("", b"{"),
        head("")
            .replace("application/json", "text/plain")
            .into_bytes(),
        with("", "[".repeat(100_000).as_bytes()),
        with("Content-Encoding: gzip\r\n", b"\x1f\x8b"),
        with("", no_pod.as_bytes()),
        with("", many.as_bytes()),
        with("", &[0xff; 4096]),
        with("", absent.as_bytes()),
        with("", foreign.as_bytes()),
    ]
}
