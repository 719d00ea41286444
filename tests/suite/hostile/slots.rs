//! More reviews than there are slots to wait in, and more tokens than AWS is asked for.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::spec::{Action, CallCount, Fault};
use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::floods::{alone, as_before, ask, known, quiet};
use super::{answer, request, review, status};
use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually, review as reviews};

trials!(
    flood_for_a_missing_namespace_mints_nothing,
    forged_reviews_delay_no_region_that_exists,
    flood_of_one_namespace_delays_no_other,
    long_reviews_that_wait_hold_no_memory,
    overloaded_replica_sheds_only_what_it_must_look_up,
);

/// Reviews that are not answered yet.
const IN_FLIGHT: &str = "ecr_pull_secrets_admission_in_flight";

/// A namespace whose registry AWS does not answer for, and the request of a review that waits for it.
async fn waiting(world: &World) -> (Namespace, String) {
    let (namespace, review) = waiting_review(world).await;
    (namespace, request(&review.to_string()))
}

/// The same with the review alone.
async fn waiting_review(world: &World) -> (Namespace, Value) {
    let namespace = Namespace::new(world).await;
    let fault = namespace.region.fault(Fault::Hang).await;
    fault.expect("the stand-in listens");
    let review = reviews::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    (namespace, review)
}

async fn flood_of_one_namespace_delays_no_other(world: Arc<World>) -> Outcome {
    // More than there are slots.
    const FLOOD: usize = 450;
    let (flooding, request) = waiting(&world).await;
    let honest = Namespace::new(&world).await;
    let review = reviews::of_pod(&honest.name, &pod("pod", &honest.image("app")));
    let (replica, files) = quiet(&world, "flooding").await;
    let mut streams = join_all((0..FLOOD).map(|_| known(&replica))).await;
    let requests = streams.iter_mut().map(|stream| (stream, &*request));
    at_once(&replica, requests).await;
    eventually("the flood waits", LIMIT, || async {
        (replica.metric(IN_FLIGHT, &[]).await >= 90.0).then_some(())
    })
    .await;
    // It has a slot to wait in.
    let answered = reviews::answer(&replica, &review).await;
    assert_eq!(reviews::warnings(&answered), "");
    honest.assert_opens().await;
    for answer in join_all(streams.iter_mut().map(answer)).await {
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(answer.contains("\"patch\":"), "{answer}");
    }
    drop(streams);
    alone(&replica).await;
    as_before(&replica, files).await;
    flooding.region.clear_faults().await?;
    Ok(())
}

async fn long_reviews_that_wait_hold_no_memory(world: Arc<World>) -> Outcome {
    // Together they are longer than all bodies may be.
    const LONG: usize = 6;
    const BYTES: usize = 5 * 1024 * 1024;
    let (slow, mut review) = waiting_review(&world).await;
    review["request"]["object"]["metadata"]["annotations"] = json!({ "long": "x".repeat(BYTES) });
    let long = Bytes::from(review.to_string());
    let (replica, files) = quiet(&world, "long-waits").await;
    let send = async |_| {
        while let Some((status, _)) = replica.post(long.clone()).await {
            if status == StatusCode::OK {
                return;
            }
            // Those before it are still being read.
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
    };
    // On a busy machine the first may be answered before the last is read.
    eventually("all of them wait", LIMIT, || async {
        let all_wait = async { while replica.metric(IN_FLIGHT, &[]).await < LONG as f64 {} };
        tokio::select! {
            () = all_wait => Some(()),
            _ = join_all((0..LONG).map(send)) => None,
        }
    })
    .await;
    as_before(&replica, files).await;
    slow.region.clear_faults().await?;
    Ok(())
}

async fn flood_for_a_missing_namespace_mints_nothing(world: Arc<World>) -> Outcome {
    // More than one namespace has slots.
    const FLOOD: usize = 450;
    let region = Namespace::new(&world).await.region;
    let (replica, files) = quiet(&world, "absent").await;
    let mut streams = join_all((0..FLOOD).map(|_| known(&replica))).await;
    let pod = pod("pod", &format!("{}/app:v1", region.host(ACCOUNT)));
    let request = request(&reviews::of_pod("absent", &pod).to_string());
    let requests = streams.iter_mut().map(|stream| (stream, &*request));
    at_once(&replica, requests).await;
    for answer in join_all(streams.iter_mut().map(answer)).await {
        assert_eq!(status(&answer), "200", "{answer}");
    }
    drop(streams);
    alone(&replica).await;
    as_before(&replica, files).await;
    let calls = region.total(Action::GetAuthorizationToken).await?;
    assert_eq!(calls.total, 0);
    Ok(())
}

/// A client that reaches the port names namespaces and regions of its choice.
async fn forged_reviews_delay_no_region_that_exists(world: Arc<World>) -> Outcome {
    // Each namespace stands in the queue to AWS once, so they take 15 s.
    const NAMESPACES: usize = 60;
    let (replica, files) = quiet(&world, "forged").await;
    let made = join_all((0..NAMESPACES).map(|_| Namespace::new(&world))).await;
    let forged = made.iter().enumerate().map(|(place, namespace)| {
        let containers = (0..16).map(|number| {
            let region = world.aws.region(&format!("forged-land-{}", 100 * place + number));
            json!({ "name": format!("c{number}"), "image": format!("{}/app", region.host(ACCOUNT)) })
        });
        let mut pod = pod("pod", "busybox");
        pod["spec"]["containers"] = containers.collect();
        request(&reviews::of_pod(&namespace.name, &pod).to_string())
    });
    let forged: Vec<String> = forged.collect();
    let mut streams = join_all(forged.iter().map(|_| known(&replica))).await;
    let requests = streams.iter_mut().zip(forged.iter().map(|text| &**text));
    at_once(&replica, requests).await;
    join_all(streams.iter_mut().map(answer)).await;
    // AWS documents this one.
    let region = world.aws.region("ap-southeast-7");
    let honest = Namespace::in_region(&world, region, json!({})).await;
    let review = reviews::of_pod(&honest.name, &pod("pod", &honest.image("app")));
    reviews::answer(&replica, &review).await;
    honest.assert_opens().await;
    let calls = world.aws.calls().await?;
    let is_forged = |call: &&CallCount| call.region.starts_with("forged-land-");
    let before: u64 = calls.iter().filter(is_forged).map(|call| call.total).sum();
    assert!(before < 45, "{before} calls for inventions came first");
    drop(streams);
    alone(&replica).await;
    as_before(&replica, files).await;
    Ok(())
}

async fn overloaded_replica_sheds_only_what_it_must_look_up(world: Arc<World>) -> Outcome {
    // Their shares are all slots.
    const FLOODS: usize = 4;
    const FLOOD: usize = 100;
    const SLOTS: f64 = 384.0;
    let floods = join_all((0..FLOODS).map(|_| waiting(&world))).await;
    let (replica, files) = quiet(&world, "flooded").await;
    let unknown = reviews::of_pod("unknown", &pod("pod", &floods[0].0.image("app"))).to_string();
    let metric = "ecr_pull_secrets_admission_shed_total";
    // On a busy machine the first may be answered before the last is read.
    eventually("a request is shed", LIMIT, || async {
        let before = replica.metric(metric, &[]).await;
        let mut streams = join_all((0..FLOODS * FLOOD).map(|_| known(&replica))).await;
        let mut late = known(&replica).await;
        let requests = floods.iter().map(|(_, request)| &**request).cycle();
        at_once(&replica, streams.iter_mut().zip(requests)).await;
        // They wait for two seconds.
        let end = Instant::now() + Duration::from_secs(2);
        while replica.metric(IN_FLIGHT, &[]).await < SLOTS && Instant::now() < end {}
        let late = ask(&mut late, &request(&unknown)).await?;
        // A review that waits for nothing needs no slot.
        let (status, _) = replica.post(review()).await?;
        assert_eq!(status, StatusCode::OK);
        let answers = join_all(streams.iter_mut().map(answer)).await;
        assert!(!answers.iter().any(|answer| is_shed(answer)));
        let told = replica.metric(metric, &[]).await - before;
        assert_eq!(told, f64::from(u8::from(is_shed(&late))));
        drop(streams);
        alone(&replica).await;
        is_shed(&late).then_some(())
    })
    .await;
    as_before(&replica, files).await;
    for (namespace, _) in floods {
        namespace.region.clear_faults().await?;
    }
    Ok(())
}

/// Sends all requests in the same instant.
async fn at_once(
    replica: &Replica,
    requests: impl Iterator<Item = (&mut TlsStream<TcpStream>, &str)>,
) {
    replica.freeze();
    eventually("the replica is frozen", LIMIT, || async {
        let status = fs::read_to_string(format!("/proc/{}/status", replica.process()));
        status.expect("it runs").contains("State:\tT").then_some(())
    })
    .await;
    for (stream, request) in requests {
        let said = stream.write_all(request.as_bytes()).await;
        said.and(stream.flush().await).expect("it listens");
    }
    replica.thaw();
}

fn is_shed(answer: &str) -> bool {
    let text = answer.to_lowercase();
    if status(answer) == "200" {
        assert!(!text.contains("connection: close"), "{answer}");
        return false;
    }
    assert_eq!(status(answer), "503", "{answer}");
    assert!(text.contains("retry-after: 1\r\n"), "{answer}");
    assert!(text.contains("connection: close\r\n"), "{answer}");
    true
}
