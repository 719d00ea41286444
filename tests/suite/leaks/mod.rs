//! Hostile answers, misspelt variables and proxies: what reaches a log or a proxy of the credentials that are sent and
//! received meanwhile. Each credential has the length and the look of a real one.

pub mod answers;
pub mod endpoints;
pub mod proxies;
pub mod settings;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::launch::Launch;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{World, review};
use crate::logs::{Parts, events, metrics};

use crate::shared;

/// Level and format of each way to log.
const LOGGINGS: [(&str, &str); 4] = [
    ("info", "text"),
    ("info", "json"),
    ("trace", "text"),
    ("trace", "json"),
];

/// Issuer of the web identities.
pub const ISSUER: &str = "https://issuer.example.com";

/// Replicas that differ in how they log, all ready.
async fn in_each_way(world: &World, name: &str, change: impl Fn(Launch) -> Launch) -> Vec<Replica> {
    let replicas: Vec<Replica> = LOGGINGS
        .into_iter()
        .map(|(level, format)| {
            let launch = world.replica(&format!("{name}-{level}-{format}"));
            change(launch.log(level, format)).start()
        })
        .collect();
    join_all(replicas.iter().map(Replica::ready)).await;
    replicas
}

/// Without the keys that the world gives each replica.
pub fn without_keys(launch: Launch) -> Launch {
    launch
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
}

/// The answer to a pod of this namespace with an image of this region.
pub async fn ask(replica: &Replica, namespace: &Namespace, region: &str) -> Value {
    let host = namespace.region.client().region(region).host(ACCOUNT);
    let review = review::of_pod(&namespace.name, &pod("pod", &format!("{host}/app:v1")));
    let answer = review::answer(replica, &review).await;
    assert!(review::adds_reference(&answer), "{answer}");
    answer
}

/// Name and text of a replica's log.
pub fn log(replica: &Replica) -> (String, String) {
    let text = fs::read(&replica.log).expect("a log");
    (
        replica.name.clone(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Names and texts of a running replica's log and metrics.
async fn texts(replica: &Replica) -> Vec<(String, String)> {
    let metrics = metrics(replica).await.expect("it runs");
    vec![log(replica), metrics]
}

/// Fails if a log, a metric or an Event has a part of a secret of the stand-in, or of these.
async fn assert_nothing_leaks(world: &World, replicas: &[Replica], more: &[&str]) {
    let texts = join_all(replicas.iter().map(texts)).await;
    assert_nothing_in(world, &texts.concat(), more).await;
}

/// The same for texts of replicas, which may have ended.
async fn assert_nothing_in(world: &World, texts: &[(String, String)], more: &[&str]) {
    let secrets = world.aws.secrets().await.expect("the stand-in answers");
    let parts = Parts::of(secrets.all().chain(more.iter().copied()));
    parts.assert_absent(texts);
    parts.assert_absent(&[events(world).await]);
}

/// A token as a kubelet projects it: about a kilobyte, with this subject.
pub fn web_identity(subject: &str) -> String {
    let part = |value: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(value);
    let random = |count: usize| -> Vec<u8> { (0..count).map(|_| fastrand::u8(..)).collect() };
    let claims = json!({
        "iss": ISSUER,
        "sub": subject,
        "aud": ["sts.amazonaws.com"],
        "exp": 4_102_444_800_u64,
        "jti": part(&random(256)),
    });
    let header = json!({ "alg": "RS256", "kid": part(&random(20)), "typ": "JWT" });
    let [header, claims] = [header, claims].map(|json| part(json.to_string().as_bytes()));
    format!("{header}.{claims}.{}", part(&random(256)))
}

/// Writes a text into a file of the world.
pub fn file(world: &Arc<World>, name: &str, text: &str) -> PathBuf {
    let path = world.directory().join(name);
    fs::write(&path, text).expect("a file");
    path
}
