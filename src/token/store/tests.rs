use std::collections::HashMap;
use std::convert::Infallible;

use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::cluster::look_ups::LookUps;

/// The Secret beside the first one that holds tokens.
const SHARD: usize = 3;

/// What an API server was asked: the method, the name of a Secret, and what is to be written.
type Asked = Vec<(Method, String, Value)>;

fn key(region: &str) -> TokenKey {
    let host = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
    TokenKey::new(Identity::Ambient, &Registry::of_host(&host).unwrap())
}

/// A token that is this old.
fn token(hours: i64) -> Token {
    let minted_at = clock::now() - SignedDuration::from_hours(hours);
    // base64 of AWS:password
    Token::new("QVdTOnBhc3N3b3Jk".to_owned(), minted_at, None).unwrap()
}

/// A Secret of the store with tokens of these regions.
fn secret(shard: usize, regions: &[&str]) -> Value {
    let data = regions.iter().map(|region| {
        let key = key(region);
        let value = stored::encode(&key, &token(6));
        let value = ByteString(value.expose_secret().as_bytes().to_vec());
        (stored::data_key(&key), value)
    });
    let data: BTreeMap<String, ByteString> = data.collect();
    json!({
        "metadata": {
            "name": NAMES[shard], "uid": "1", "resourceVersion": "7",
            "annotations": announcement(),
        },
        "data": data,
    })
}

/// A store of two Secrets, and what it asks for.
fn store() -> (Arc<Store>, Arc<Mutex<Asked>>) {
    let secrets = [
        (NAMES[0], secret(0, &["us-east-1"])),
        (NAMES[SHARD], secret(SHARD, &["eu-west-1", "eu-north-1"])),
    ];
    let secrets = HashMap::from(secrets);
    let (secrets, asked) = (Arc::new(secrets), Arc::<Mutex<Asked>>::default());
    let seen = asked.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (secrets, seen) = (secrets.clone(), seen.clone());
        async move {
            let (head, body) = request.into_parts();
            let name = head.uri.path().rsplit('/').next().unwrap().to_owned();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let absent = json!({ "kind": "Status", "code": 404, "reason": "NotFound" });
            let (code, answer) = match secrets.get(&*name) {
                Some(secret) => (200, secret),
                None => (404, &absent),
            };
            seen.lock().push((head.method, name, body));
            let body = Full::new(Bytes::from(answer.to_string()));
            let answer = Response::builder().status(code).body(body);
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let client = Client::new(service, "default");
    let clients = Clients {
        watch: client.clone(),
        call: client,
        look_ups: LookUps::default(),
    };
    (Store::new(&clients, "ours"), asked)
}

#[tokio::test]
async fn write_sends_its_own_secret_and_token_alone() {
    let (store, asked) = store();
    assert_eq!(store.read_all().await.unwrap().len(), 3);
    asked.lock().clear();
    let renewed = key("eu-west-1");
    store.put(&renewed, &token(0)).await;
    let asked = std::mem::take(&mut *asked.lock());
    let calls = asked.iter().map(|(method, name, _)| (method, &**name));
    let calls: Vec<_> = calls.collect();
    let name = NAMES[SHARD];
    assert_eq!(calls, [(&Method::GET, name), (&Method::PATCH, name)]);
    let (_, _, patch) = &asked[1];
    let sent = patch["data"].as_object().unwrap().keys();
    assert!(sent.eq([&stored::data_key(&renewed)]));
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert!(store.pending.lock().is_empty());
}
