//! The two ports as their callers see them: answers to reviews and to other requests, probes and
//! metrics.

use std::sync::Arc;

use aws_stand_in::spec::Action;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::{Outcome, World, review};
use crate::limits::apart;

trials!(
    review_is_answered_with_a_review,
    other_content_types_are_refused,
    other_methods_and_paths_are_refused,
    body_that_reviews_no_pod_is_refused,
    body_over_seven_mebibytes_is_refused,
    probes_report_a_healthy_replica,
    metrics_have_the_fixed_names,
    answer_is_counted_by_outcome_and_cause,
    warm_review_makes_no_call,
);

const JSON: &str = "application/json";

async fn review_is_answered_with_a_review(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    for target in ["/mutate?timeout=5s", "/mutate", "/mutate?timeout=never"] {
        for content_type in [JSON, "application/json; charset=utf-8"] {
            let request = Request::post(target)
                .header(header::CONTENT_TYPE, content_type)
                .body(Full::from(review.to_string()))?;
            let answer = world.replicas()[0].send(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], JSON);
            assert!(!answer.headers().contains_key(header::CONNECTION));
            let body: Value = serde_json::from_slice(answer.body())?;
            assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
            assert_eq!(body["kind"], "AdmissionReview");
            assert_eq!(body["response"]["uid"], review["request"]["uid"]);
            assert_eq!(body["response"]["allowed"], true);
            assert_eq!(body["response"]["patchType"], "JSONPatch");
            assert!(review::adds_reference(&body["response"]));
        }
    }
    Ok(())
}

async fn other_content_types_are_refused(world: Arc<World>) -> Outcome {
    let review = review::of_pod("default", &pod("pod", "busybox")).to_string();
    for content_type in ["text/plain", "application/yaml", "application/jsonp", ""] {
        let answer = world.replicas()[0]
            .post_to("/mutate", content_type, review.clone())
            .await;
        let (status, _) = answer.expect("an answer");
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    Ok(())
}

async fn other_methods_and_paths_are_refused(world: Arc<World>) -> Outcome {
    let send = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header(header::CONTENT_TYPE, JSON)
            .body(Full::default());
        let answer = world.replicas()[0].send(request.expect("a request")).await;
        answer.expect("an answer").status()
    };
    for method in [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ] {
        let status = send(method.clone(), "/mutate").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for path in [
        "/",
        "/mutate/",
        "/Mutate",
        "/validate",
        "/metrics",
        "/healthz",
        "/readyz",
    ] {
        let status = send(Method::POST, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    Ok(())
}

async fn body_that_reviews_no_pod_is_refused(world: Arc<World>) -> Outcome {
    let review = review::of_pod("default", &pod("pod", "busybox"));
    let with = |pointer: &str, value: Value| {
        let mut review = review.clone();
        *review.pointer_mut(pointer).expect("a field") = value;
        review.to_string()
    };
    for body in [
        String::new(),
        "a pod".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        review.to_string().replacen('{', "", 1),
        with("/apiVersion", json!("admission.k8s.io/v1beta1")),
        with("/kind", json!("Pod")),
        with("/request", Value::Null),
        with("/request/object", Value::Null),
        with("/request/kind/kind", json!("Secret")),
        with("/request/object/spec/containers", json!("none")),
    ] {
        let (status, text) = world.replicas()[0]
            .post(body.clone())
            .await
            .expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(text.len() > 8, "the answer says why: {text:?}");
    }
    // None of these requests did any harm.
    let answer = review::answer(&world.replicas()[0], &review).await;
    assert_eq!(answer["auditAnnotations"]["cause"], "no_ecr_image");
    Ok(())
}

async fn body_over_seven_mebibytes_is_refused(world: Arc<World>) -> Outcome {
    const LIMIT: usize = 7 * 1024 * 1024;
    let review = review::of_pod("default", &pod("pod", "busybox")).to_string();
    for (size, wanted) in [
        (LIMIT, StatusCode::OK),
        (LIMIT + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let body = format!("{review}{}", " ".repeat(size - review.len()));
        let answer = world.replicas()[0].post(Bytes::from(body)).await;
        let (status, _) = answer.expect("an answer");
        assert_eq!(status, wanted, "{size}");
    }
    Ok(())
}

async fn probes_report_a_healthy_replica(world: Arc<World>) -> Outcome {
    for replica in &world.replicas() {
        for path in ["/healthz", "/readyz"] {
            let (status, text) = replica.get(path).await.expect("an answer");
            assert_eq!((status, text.as_str()), (StatusCode::OK, "ok\n"), "{path}");
        }
        // The plain port serves nothing else.
        for path in ["/", "/mutate", "/debug"] {
            let (status, _) = replica.get(path).await.expect("an answer");
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    Ok(())
}

async fn metrics_have_the_fixed_names(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    // It has a token store of its own: beyond 64 regions, a region has no name of its own.
    let replica = &apart(&world, "metrics").await;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    review::answer(replica, &review).await;
    namespace.assert_opens().await;
    let (_, text) = replica.get("/metrics").await.expect("metrics");
    assert!(text.ends_with("# EOF\n"));
    for (name, labels) in [
        (
            "admission_requests_total",
            "outcome=\"injected\",cause=\"\"",
        ),
        ("admission_duration_seconds_bucket", "le=\"5.0\""),
        ("admission_duration_seconds_count", ""),
        ("admission_in_flight", ""),
        ("admission_shed_total", ""),
        ("admission_panics_total", ""),
        (
            "secret_applies_total",
            "trigger=\"admission\",result=\"ok\"",
        ),
        ("token_requests_total", "result=\"ok\""),
        ("token_expiry_timestamp_seconds", "rule=\"ambient\""),
        ("token_keys", ""),
        ("token_keys_limit", ""),
        ("secret_expiry_timestamp_seconds", ""),
        ("certificate_expiry_timestamp_seconds", ""),
        ("certificate_reloads_total", "result=\"ok\""),
        ("secrets_foreign", ""),
        (
            "build_info",
            concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        ),
    ] {
        let name = format!("ecr_pull_secrets_{name}");
        let is_series = |line: &str| {
            let rest = line.strip_prefix(&name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        };
        assert!(text.lines().any(is_series), "{name}{{{labels}}}\n{text}");
        // A cluster has thousands of namespaces.
        let has_namespace = |line: &str| line.starts_with(&name) && line.contains("namespace=");
        assert!(!text.lines().any(has_namespace), "{name}");
    }
    // Every pod may read them.
    assert!(!text.contains("arn:") && !text.contains(ACCOUNT), "{text}");
    // The times are of this day, and in order.
    let now = ecr_pull_secrets::clock::now().as_second() as f64;
    let region = format!("region=\"{}\"", namespace.region.name());
    let token = "ecr_pull_secrets_token_expiry_timestamp_seconds";
    let token = replica.metric(token, &[&region]).await - now;
    assert!((11.0 * 3600.0..=12.0 * 3600.0).contains(&token), "{token}");
    let certificate = replica
        .metric("ecr_pull_secrets_certificate_expiry_timestamp_seconds", &[])
        .await;
    assert!(certificate > now);
    assert!(
        (replica
            .metric("ecr_pull_secrets_admission_panics_total", &[])
            .await)
            < 1.0
    );
    Ok(())
}

async fn answer_is_counted_by_outcome_and_cause(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    // A new replica finds a warm namespace. Other tests use the counters of the shared ones.
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    review::answer(&world.replicas()[0], &review).await;
    namespace.assert_opens().await;
    let replica = world.replica("counts").start();
    replica.ready().await;
    let mut named = pod("pod", &namespace.image("app"));
    named["spec"]["imagePullSecrets"] = json!([{ "name": "ecr-registry-credentials" }]);
    let mut mirror = pod("pod", &namespace.image("app"));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "a hash" });
    let ours = pod("pod", &namespace.image("app"));
    let missing = review::of_pod("made-up", &ours);
    for (review, times, labels) in [
        (
            review::of_pod(&namespace.name, &ours),
            3.0,
            ["\"injected\"", "cause=\"\""],
        ),
        (
            review::of_pod(&namespace.name, &named),
            2.0,
            ["\"already_present\"", "cause=\"\""],
        ),
        (
            review::of_pod(&namespace.name, &pod("pod", "busybox")),
            1.0,
            ["\"skipped\"", "\"no_ecr_image\""],
        ),
        (
            review::of_pod(&namespace.name, &mirror),
            1.0,
            ["\"skipped\"", "\"mirror_pod\""],
        ),
        (missing, 1.0, ["\"skipped\"", "\"namespace_missing\""]),
    ] {
        let metric = "ecr_pull_secrets_admission_requests_total";
        assert_eq!(replica.metric(metric, &labels).await, 0.0, "{labels:?}");
        let mut count = 0.0;
        while count < times {
            review::answer(&replica, &review).await;
            count += 1.0;
        }
        assert_eq!(replica.metric(metric, &labels).await, times, "{labels:?}");
    }
    // A request that is no review is not counted.
    let refused = replica.post("{").await.expect("an answer");
    assert_eq!(refused.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        replica
            .metric("ecr_pull_secrets_admission_duration_seconds_count", &[])
            .await,
        8.0
    );
    assert_eq!(
        replica
            .metric("ecr_pull_secrets_admission_in_flight", &[])
            .await,
        0.0
    );
    Ok(())
}

/// Counted by the API server's audit log and by AWS.
async fn warm_review_makes_no_call(world: Arc<World>) -> Outcome {
    let replica = &world.replicas()[0];
    // The namespace's first review. Its calls have ended when the Secret exists.
    let first = async || {
        let namespace = Namespace::new(&world).await;
        let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
        review::answer(replica, &review).await;
        namespace.secret_comes().await;
        (namespace, review)
    };
    let (namespace, review) = first().await;
    first().await;
    let calls = async || {
        let tokens = namespace.region.total(Action::GetAuthorizationToken).await;
        (
            world.calls_about(&namespace.name),
            tokens.expect("a count").total,
        )
    };
    let before = calls().await;
    assert!(before.0 > 0 && before.1 > 0, "the first review made calls");
    let mut connection = replica.connect().await.expect("a connection");
    for _ in 0..1000 {
        let answer = review::answer_on(&mut connection, &review).await;
        assert!(review::adds_reference(&answer));
    }
    first().await;
    assert_eq!(calls().await, before);
    Ok(())
}
