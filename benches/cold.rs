//! A cold admission on a real API server: the token is known, the namespace has no pull Secret.

use http::{Request, header};
use http_body_util::Full;
use tokio::time::Instant;

use crate::harness::namespace::{ACCOUNT, pod};
use crate::harness::review;
use crate::report::{Report, few, quantiles};
use crate::site::{Site, name};

/// Number of cold admissions.
const NAMESPACES: usize = 500;

/// Measures it.
pub async fn measure(report: &mut Report) {
    let count = few(NAMESPACES);
    println!("cold: {count} namespaces without a pull Secret");
    let site = Site::start().await;
    site.namespaces(0..count + 1).await;
    let replica = site.start_replica();
    replica.ready().await;
    site.first_secret(&replica).await;
    let mut connection = replica.connect().await.expect("a connection");
    let (writes, reads) = calls(&site).await;
    let image = format!("{}/app:v1", site.region.host(ACCOUNT));
    let mut times = Vec::new();
    for number in 1..=count {
        let review = review::of_pod(&name(number), &pod("pod", &image)).to_string();
        let request =
            Request::post("/mutate?timeout=5s").header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::from(review)).expect("a request");
        let begun = Instant::now();
        let answer = connection.send(request).await.expect("an answer");
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(body.contains(r#""outcome":"injected""#), "{body}");
    }
    let (writes_after, reads_after) = calls(&site).await;
    let (writes, reads) = (writes_after - writes, reads_after - reads);
    assert_eq!(writes, count as f64, "one write for each");
    let [p50, p99, most] = quantiles(&times, [0.5, 0.99, 1.0]);
    report.figure("cold_p99_ms", p99);
    report.note(format!(
        "cold admission, token known, {count} new namespaces one after the other: {writes:.0} writes and {reads:.0} reads \
         of Secrets at the API server; p50 {p50:.1} ms, p99 {p99:.1}, the slowest {most:.1}"
    ));
    site.stop();
}

/// Writes and reads of single Secrets by all clients, as the API server counts them.
async fn calls(site: &Site) -> (f64, f64) {
    let request = Request::get("/metrics")
        .body(Vec::new())
        .expect("a request");
    let metrics = site.cluster.client.request_text(request).await;
    let metrics = metrics.expect("metrics");
    let sum = |verbs: &[&str]| {
        let of_secrets = metrics.lines().filter(|line| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"secrets\"")
                && verbs
                    .iter()
                    .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        });
        of_secrets
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    (
        sum(&["APPLY", "PATCH", "POST", "PUT", "DELETE"]),
        sum(&["GET"]),
    )
}
