//! Single hostile requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ecr_pull_secrets_core::cause::Cause;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{answer, head, request, review, say, status, until_end};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::{LIMIT, Outcome, World, review as reviews};

trials!(
    encoded_body_is_refused,
    body_without_content_type_is_refused,
    long_body_is_refused_before_it_is_read,
    body_of_wrong_length_harms_no_other,
    deep_nesting_is_refused,
    invalid_utf_8_is_refused,
    ten_thousand_containers_are_answered,
    long_reviews_hold_up_no_other,
    forged_review_changes_no_excluded_namespace,
    malformed_request_is_closed,
    old_connection_closes_after_an_answer,
    slow_header_is_closed_and_idle_connection_kept,
);

/// Registries of a long review: 7 MiB, the limit of a body.
const REGISTRIES: u64 = 111_291;
/// Long reviews at a time. A replica has memory for two of their bodies.
const LONG: usize = 3;
/// The timeout of the registration.
const API_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

async fn encoded_body_is_refused(world: Arc<World>) -> Outcome {
    for (encoding, wanted) in [
        ("gzip", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("br, identity", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("identity", StatusCode::OK),
    ] {
        let request = Request::post("/mutate")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_ENCODING, encoding)
            .body(Full::from(review()))?;
        let answer = world.replicas()[0].send(request).await.expect("an answer");
        assert_eq!(answer.status(), wanted, "{encoding}");
    }
    Ok(())
}

async fn body_without_content_type_is_refused(world: Arc<World>) -> Outcome {
    let request = Request::post("/mutate").body(Full::from(review()))?;
    let answer = world.replicas()[0].send(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    Ok(())
}

async fn long_body_is_refused_before_it_is_read(world: Arc<World>) -> Outcome {
    let replica = &world.replicas()[0];
    // No byte of the body is sent.
    let eight = 8 * 1024 * 1024;
    let mut stream = say(replica, head(&format!("Content-Length: {eight}\r\n"))).await;
    let heard = until_end(&mut stream).await;
    assert_eq!(status(&heard), "413", "{heard}");
    assert!(
        heard.to_lowercase().contains("connection: close"),
        "{heard}"
    );
    // The whole body is sent before the answer is read.
    let mut stream = say(replica, head(&format!("Content-Length: {eight}\r\n"))).await;
    stream.write_all(&vec![b' '; eight]).await?;
    let heard = until_end(&mut stream).await;
    assert_eq!(status(&heard), "413", "{heard}");
    // A chunked body has no announced length.
    let mut stream = say(replica, head("Transfer-Encoding: chunked\r\n")).await;
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1024 * 1024));
    for _ in 0..8 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let heard = until_end(&mut stream).await;
    assert_eq!(status(&heard), "413", "{heard}");
    // A chunked body within the limit is a valid review.
    let review = review();
    let (one, two) = review.split_at(review.len() / 2);
    let mut body = head("Transfer-Encoding: chunked\r\n");
    for chunk in [one, two, ""] {
        body += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    let mut stream = say(replica, body).await;
    assert_eq!(status(&answer(&mut stream).await), "200");
    Ok(())
}

async fn body_of_wrong_length_harms_no_other(world: Arc<World>) -> Outcome {
    let replica = world.replica("lied-to").start();
    replica.ready().await;
    let review = review();
    // Bytes beyond the announced length are another request, and a malformed one.
    let mut stream = say(&replica, request(&review) + "{}\r\n\r\n").await;
    let heard = until_end(&mut stream).await;
    assert_eq!(status(&heard), "200", "{heard}");
    assert!(heard.contains("400 Bad Request"), "{heard}");
    // A short body times out. If the client closes, the replica does not wait.
    let longer = head(&format!("Content-Length: {}\r\n", review.len() + 1)) + &review;
    let mut stream = say(&replica, &longer).await;
    assert_eq!(until_end(&mut stream).await, "");
    let cut = "ecr_pull_secrets_connections_cut_total";
    assert_eq!(replica.metric(cut, &["phase=\"body\""]).await, 1.0);
    let mut stream = say(&replica, &longer).await;
    stream.shutdown().await?;
    until_end(&mut stream).await;
    assert_eq!(replica.metric(cut, &[]).await, 1.0);
    reviews::answer(&replica, &serde_json::from_str(&review)?).await;
    Ok(())
}

async fn deep_nesting_is_refused(world: Arc<World>) -> Outcome {
    let deep = "[".repeat(100_000);
    let closed = deep.clone() + &"]".repeat(100_000);
    let inside = |field: &str, value: &str| {
        let mut review: Value = serde_json::from_str(&review()).expect("JSON");
        review["request"]["object"]["spec"][field] = json!("DEEP");
        review.to_string().replace("\"DEEP\"", value)
    };
    for body in [
        deep.clone(),
        closed.clone(),
        deep.replace('[', "{\"a\":"),
        inside("containers", &deep),
        inside("containers", &closed),
        inside("imagePullSecrets", &closed),
        inside("unknown", &deep),
    ] {
        let (status, _) = world.replicas()[0].post(body).await.expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    Ok(())
}

async fn invalid_utf_8_is_refused(world: Arc<World>) -> Outcome {
    let review = review();
    let (before, after) = review.split_once("busybox").expect("an image");
    for garbage in [
        &b"\xff"[..],
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
    ] {
        let body = [before.as_bytes(), garbage, after.as_bytes()].concat();
        let (status, _) = world.replicas()[0].post(body).await.expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{garbage:?}");
    }
    let (status, _) = world.replicas()[0]
        .post([0xff; 4096].to_vec())
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    Ok(())
}

async fn ten_thousand_containers_are_answered(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let container = |number: usize| json!({ "name": format!("c{number}"), "image": "busybox" });
    let mut containers: Vec<_> = (0..10_000).map(container).collect();
    containers.push(json!({ "name": "last", "image": namespace.image("app") }));
    let mut pod = pod("pod", "busybox");
    pod["spec"]["containers"] = json!(containers);
    let review = reviews::of_pod(&namespace.name, &pod);
    let answer = reviews::answer(&world.replicas()[0], &review).await;
    assert!(reviews::adds_reference(&answer), "{answer}");
    namespace.assert_opens().await;
    Ok(())
}

/// Each answer comes within the API server's own timeout.
async fn long_reviews_hold_up_no_other(world: Arc<World>) -> Outcome {
    let replica = world.replica("reads-long-reviews").start();
    replica.ready().await;
    let (hostile, honest) = tokio::join!(Namespace::new(&world), Namespace::new(&world));
    let small = reviews::of_pod(&honest.name, &pod("pod", &honest.image("app")));
    reviews::answer(&replica, &small).await;
    honest.assert_opens().await;
    let registry = |number: u64| hostile.region.host(&(600_000_000_000 + number).to_string());
    // The worst order for a sorted list.
    let containers = (0..REGISTRIES)
        .rev()
        .map(|number| json!({ "image": registry(number) + "/a" }));
    let mut many = pod("pod", "busybox");
    many["spec"]["containers"] = containers.collect();
    let long = Bytes::from(reviews::of_pod(&hostile.name, &many).to_string());
    let mut answers = join_all((0..LONG).map(|_| async {
        let answer = timeout(API_SERVER_TIMEOUT, replica.post(long.clone())).await;
        answer.expect("an answer in time").expect("an answer")
    }));
    let mut answered = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut answers => break answers,
            answer = timeout(API_SERVER_TIMEOUT, reviews::answer(&replica, &small)) => {
                assert!(reviews::adds_reference(&answer.expect("an answer in time")));
                answered += 1;
            }
        }
    };
    assert!(answered > 0);
    let cause = Cause::TooManyRegistries.warning();
    let mut told = 0;
    for (status, body) in answers {
        let text = String::from_utf8_lossy(&body);
        if status == StatusCode::OK {
            assert!(text.contains(&cause), "{text}");
            told += 1;
        } else {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        }
    }
    assert!(told > 0, "no long review was answered");
    Ok(())
}

async fn forged_review_changes_no_excluded_namespace(world: Arc<World>) -> Outcome {
    use aws_stand_in::spec::Action;

    let out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let out = Namespace::with_labels(&world, out).await;
    let image = out.image("app");
    for namespace in [
        out.name.as_str(),
        "kube-system",
        "kube-public",
        "nowhere",
        "kube-system/../default",
        "",
    ] {
        let mut forged = reviews::of_pod(namespace, &pod("pod", &image));
        // The object's own namespace does not count.
        forged["request"]["object"]["metadata"]["namespace"] = json!("default");
        for replica in &world.replicas() {
            let answer = reviews::answer(replica, &forged).await;
            assert_eq!(answer["auditAnnotations"]["outcome"], "skipped", "{answer}");
            assert!(answer["patch"].is_null(), "{answer}");
        }
    }
    let calls = out.region.total(Action::GetAuthorizationToken).await?;
    assert_eq!(calls.total, 0);
    assert!(out.secret().await.is_none());
    Ok(())
}

async fn malformed_request_is_closed(world: Arc<World>) -> Outcome {
    let replica = &world.replicas()[0];
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "\x16\x03\x01 hello\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000)),
        &head("Content-Length: 1\r\nContent-Length: 2\r\n"),
        &head("Content-Length: 1\r\nTransfer-Encoding: gzip\r\n"),
    ] {
        let mut stream = say(replica, bytes).await;
        let heard = until_end(&mut stream).await;
        assert!(
            ["", "400", "431"].contains(&status(&heard)),
            "{bytes}: {heard}"
        );
    }
    // A client without TLS.
    let mut stream = TcpStream::connect(replica.https).await?;
    stream.write_all(request(&review()).as_bytes()).await?;
    let mut heard = Vec::new();
    let end = timeout(LIMIT, stream.read_to_end(&mut heard)).await;
    let _ = end.expect("the connection ends");
    assert!(!String::from_utf8_lossy(&heard).contains("HTTP"));
    Ok(())
}

async fn old_connection_closes_after_an_answer(world: Arc<World>) -> Outcome {
    let replica = world.replica("ages");
    let replica = replica.env("ECR_PULL_SECRETS_CONNECTION_AGE", "1").start();
    replica.ready().await;
    let mut stream = say(&replica, "").await;
    let mut answers = 0;
    loop {
        stream.write_all(request(&review()).as_bytes()).await?;
        let answer = answer(&mut stream).await;
        assert_eq!(status(&answer), "200", "{answer}");
        if answer.to_lowercase().contains("connection: close") {
            break;
        }
        answers += 1;
    }
    assert!(answers > 0, "the connection answered before it was old");
    assert_eq!(until_end(&mut stream).await, "");
    Ok(())
}

async fn slow_header_is_closed_and_idle_connection_kept(world: Arc<World>) -> Outcome {
    let replica = &world.replicas()[1];
    let mut quiet = say(replica, request(&review())).await;
    assert_eq!(status(&answer(&mut quiet).await), "200");
    let mut unused = say(replica, "").await;
    let mut drops = say(replica, "").await;
    let cut = timeout(LIMIT, async {
        // One byte at a time, until the replica closes the connection.
        let mut byte = [0];
        for letter in head("X: y\r\n")
            .repeat(100)
            .replace("\r\n\r\n", "\r\n")
            .bytes()
        {
            if drops.write_all(&[letter]).await.is_err() {
                return;
            }
            let read = timeout(Duration::from_millis(100), drops.read(&mut byte));
            if read.await.is_ok() {
                return;
            }
        }
    });
    cut.await.expect("an end");
    for stream in [&mut quiet, &mut unused] {
        stream.write_all(request(&review()).as_bytes()).await?;
        assert_eq!(status(&answer(stream).await), "200");
    }
    Ok(())
}
