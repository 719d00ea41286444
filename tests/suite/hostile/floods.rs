//! Many connections at a time, beside requests that must be answered.

use std::fs;
use std::sync::Arc;

use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{answer, head, if_answered, request, review, say, status};
use crate::frame::trials;
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually};

trials!(
    thousand_idle_handshakes_block_no_client,
    five_hundred_slow_bodies_take_no_slot,
    partial_headers_on_probe_port_exhaust_no_files,
    unread_answers_are_small,
    file_limit_is_logged_once_and_survived,
    invalid_requests_evict_no_known_client,
    drain_does_not_wait_for_idle_clients,
);

/// Starts a replica for one test; its number of open files without clients.
pub(super) async fn quiet(world: &World, name: &str) -> (Replica, usize) {
    let replica = world.replica(name).start();
    let files = settled(&replica).await;
    (replica, files)
}

/// Waits until the replica is ready and has opened all lasting files; their number.
async fn settled(replica: &Replica) -> usize {
    replica.ready().await;
    // All lasting files are open when it sends the second answer.
    for _ in 0..2 {
        assert_eq!(replica.post(review()).await.expect("an answer").0, 200);
    }
    alone(replica).await
}

/// Waits until no connection is left.
pub(super) async fn alone(replica: &Replica) -> usize {
    let connections = "ecr_pull_secrets_connections";
    eventually("the last connection ends", LIMIT, || async {
        // A replica at its limit of open files does not answer at once.
        replica.get("/metrics").await?;
        (replica.metric(connections, &[]).await < 1.0).then(|| replica.open_files())
    })
    .await
}

/// Waits until open files are as before. Connections to the API server and to AWS come and go.
pub(super) async fn as_before(replica: &Replica, files: usize) {
    alone(replica).await;
    eventually("the files are closed", LIMIT, || async {
        (replica.open_files() <= files + 8).then_some(())
    })
    .await;
}

async fn thousand_idle_handshakes_block_no_client(world: Arc<World>) -> Outcome {
    let (replica, files) = quiet(&world, "handshakes").await;
    let mut old = say(&replica, request(&review())).await;
    assert_eq!(status(&answer(&mut old).await), "200");
    let connect = async |number: usize| {
        let mut stream = TcpStream::connect(replica.https).await.expect("a queue");
        // Half of them send the start of a handshake.
        if number.is_multiple_of(2) {
            let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01").await;
        }
        stream
    };
    let mut silent = join_all((0..1000).map(connect)).await;
    let idle = join_all((0..200).map(|_| replica.handshake())).await;
    for _ in 0..5 {
        old.write_all(request(&review()).as_bytes()).await?;
        assert_eq!(status(&answer(&mut old).await), "200");
        let (status, _) = replica.post(review()).await.expect("an answer");
        assert_eq!(status, StatusCode::OK);
        silent.extend(join_all((0..100).map(connect)).await);
    }
    let cut = "ecr_pull_secrets_connections_cut_total";
    let made_room = ["phase=\"handshake\"", "reason=\"room\""];
    assert!(replica.metric(cut, &made_room).await > 0.0);
    drop((silent, idle, old));
    as_before(&replica, files).await;
    Ok(())
}

async fn five_hundred_slow_bodies_take_no_slot(world: Arc<World>) -> Outcome {
    let (replica, files) = quiet(&world, "slow-bodies").await;
    let mut old = say(&replica, request(&review())).await;
    assert_eq!(status(&answer(&mut old).await), "200");
    let drop_of = head("Content-Length: 4000\r\n") + "{";
    let slow = join_all((0..500).map(|_| say(&replica, &drop_of))).await;
    // These fill the memory budget of long bodies, and then send nothing.
    let six = 6 * 1024 * 1024;
    let most = head(&format!("Content-Length: {}\r\n", six + 1)) + &" ".repeat(six);
    let mut large = join_all((0..8).map(|_| say(&replica, &most))).await;
    // A body that is longer than the allowance outside the budget.
    let longer = review() + &" ".repeat(1024 * 1024);
    for _ in 0..5 {
        old.write_all(request(&review()).as_bytes()).await?;
        assert_eq!(status(&answer(&mut old).await), "200");
        let (status_of_new, _) = replica.post(review()).await.expect("an answer");
        assert_eq!(status_of_new, StatusCode::OK);
        // The other bodies may be too young to be evicted. The API server retries.
        eventually("the longer one is answered", LIMIT, || async {
            let (status, _) = replica.post(longer.clone()).await?;
            (status == StatusCode::OK).then_some(())
        })
        .await;
    }
    let cut = "ecr_pull_secrets_connections_cut_total";
    // Some large bodies may have been shed earlier, while all were young.
    while replica.metric(cut, &["reason=\"memory\""]).await == 0.0 {
        assert!(large.len() < 24, "no slow body is evicted for another");
        large.push(say(&replica, &most).await);
    }
    // The replica closes them after a while.
    eventually("the slow bodies are closed", LIMIT, || async {
        (replica.metric(cut, &[]).await >= 500.0).then_some(())
    })
    .await;
    drop((slow, large, old));
    as_before(&replica, files).await;
    Ok(())
}

async fn partial_headers_on_probe_port_exhaust_no_files(world: Arc<World>) -> Outcome {
    let replica = world.replica("half-headers").max_open_files(256).start();
    let files = settled(&replica).await;
    let connect = async |_| {
        let mut stream = TcpStream::connect(replica.http).await.expect("a queue");
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await;
        stream
    };
    let mut half = join_all((0..1100).map(connect)).await;
    for _ in 0..5 {
        let (status, _) = replica.post(review()).await.expect("an answer");
        assert_eq!(status, StatusCode::OK);
        let (status, _) = replica.get("/healthz").await.expect("an answer");
        assert_eq!(status, StatusCode::OK);
        half.extend(join_all((0..100).map(connect)).await);
    }
    let open = replica.open_files();
    assert!(open < files + 100, "{open} files, {files} before");
    let log = fs::read_to_string(&replica.log)?;
    assert!(!log.contains("cannot accept connections"));
    // The replica closes them after a while.
    as_before(&replica, files).await;
    drop(half);
    Ok(())
}

async fn unread_answers_are_small(world: Arc<World>) -> Outcome {
    const SIX: usize = 6_000_000;
    let (replica, files) = quiet(&world, "not-taken").await;
    let before = resident_mib(&replica);
    let with = |field: &str| {
        let text = "x".repeat(SIX);
        let mut review: Value = serde_json::from_str(&review()).expect("JSON");
        *review.pointer_mut(field).expect("a field") = json!(text);
        review["request"]["object"]["metadata"]["annotations"] =
            json!({ "about": "x".repeat(900_000) });
        review.to_string()
    };
    for field in ["/request/uid", "/apiVersion", "/kind"] {
        let (status, body) = replica.post(with(field)).await.expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field}");
        assert!(body.len() < 1024, "{field}: {} bytes", body.len());
    }
    let request = request(&with("/request/uid"));
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(say(&replica, &request).await);
    }
    eventually(
        "little memory is held for unread answers",
        LIMIT,
        || async { (resident_mib(&replica) < before + 64.0).then_some(()) },
    )
    .await;
    let mut refused = 0;
    for stream in &mut streams {
        // Some may have been evicted for other bodies, or shed.
        let mut heard = vec![0; 16];
        let read = timeout(LIMIT, stream.read(&mut heard)).await;
        heard.truncate(read.expect("an answer, or the end").unwrap_or_default());
        let heard = String::from_utf8_lossy(&heard);
        assert!(["400", "503", ""].contains(&status(&heard)), "{heard}");
        refused += usize::from(status(&heard) == "400");
    }
    assert!(refused > 0);
    drop(streams);
    as_before(&replica, files).await;
    Ok(())
}

fn resident_mib(replica: &Replica) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", replica.process()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("a size") / 1024.0
}

async fn file_limit_is_logged_once_and_survived(world: Arc<World>) -> Outcome {
    let replica = world.replica("few-files").max_open_files(64).start();
    replica.ready().await;
    let mut old = say(&replica, request(&review())).await;
    assert_eq!(status(&answer(&mut old).await), "200");
    let connect = |_| TcpStream::connect(replica.https);
    let silent = join_all((0..200).map(connect)).await;
    let told = || {
        let log = fs::read_to_string(&replica.log).expect("a log");
        log.matches("cannot accept connections").count()
    };
    eventually("the replica runs out of files", LIMIT, || async {
        (told() > 0).then_some(())
    })
    .await;
    old.write_all(request(&review()).as_bytes()).await?;
    assert_eq!(status(&answer(&mut old).await), "200");
    let (status_of_new, _) = replica.post(review()).await.expect("an answer");
    assert_eq!(status_of_new, StatusCode::OK);
    assert_eq!(told(), 1);
    let cut = "ecr_pull_secrets_connections_cut_total";
    // The port of probes and metrics needs files of the same limit.
    eventually("evicted connections are counted", LIMIT, || async {
        let (_, text) = replica.get("/metrics").await?;
        let is_cut = |line: &str| line.starts_with(cut) && line.contains("reason=\"room\"");
        text.lines().any(is_cut).then_some(())
    })
    .await;
    drop((silent, old));
    alone(&replica).await;
    let (status, _) = replica.post(review()).await.expect("an answer");
    assert_eq!(status, StatusCode::OK);
    Ok(())
}

async fn invalid_requests_evict_no_known_client(world: Arc<World>) -> Outcome {
    // More than there are slots.
    const FLOOD: usize = 600;
    let (replica, files) = quiet(&world, "malformed").await;
    let mut old = say(&replica, request(&review())).await;
    assert_eq!(status(&answer(&mut old).await), "200");
    let rubbish = request("{");
    let mut crowd = Vec::new();
    for _ in 0..FLOOD {
        let refused = eventually("the request is refused", LIMIT, || async {
            let mut stream = replica.handshake().await?;
            assert_eq!(status(&ask(&mut stream, &rubbish).await?), "400");
            Some(stream)
        });
        crowd.push(refused.await);
    }
    old.write_all(request(&review()).as_bytes()).await?;
    assert_eq!(status(&answer(&mut old).await), "200");
    drop((crowd, old));
    as_before(&replica, files).await;
    Ok(())
}

/// A connection that has carried a review. An unknown connection may be evicted for others. The second
/// review shows that this one was not.
pub(super) async fn known(replica: &Replica) -> TlsStream<TcpStream> {
    eventually("a known connection", LIMIT, || async {
        let mut stream = replica.handshake().await?;
        for _ in 0..2 {
            let answer = ask(&mut stream, &request(&review())).await?;
            assert_eq!(status(&answer), "200");
        }
        Some(stream)
    })
    .await
}

/// The answer, unless the connection is closed.
pub(super) async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    if_answered(stream).await
}

async fn drain_does_not_wait_for_idle_clients(world: Arc<World>) -> Outcome {
    let (replica, _) = quiet(&world, "leaves").await;
    let silent = TcpStream::connect(replica.https).await?;
    let unused = say(&replica, "").await;
    let mut idle = say(&replica, request(&review())).await;
    assert_eq!(status(&answer(&mut idle).await), "200");
    replica.terminate();
    assert_eq!(replica.ended().await, 0);
    let log = fs::read_to_string(&replica.log)?;
    assert!(log.contains("\"stopped\""));
    assert!(!log.contains("did not end in time"));
    assert!(TcpStream::connect(replica.https).await.is_err());
    drop((silent, unused, idle));
    Ok(())
}
