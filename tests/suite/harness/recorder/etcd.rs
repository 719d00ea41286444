//! Every revision of every Secret, in order, from etcd's own watch. A broken watch resumes after the
//! last revision that it saw: the API server compacts etcd every five minutes, and not before.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{OURS, Recorder};

const PREFIX: &str = "/registry/secrets/";
/// First key after those with the prefix.
const END: &str = "/registry/secrets0";

/// Follows etcd forever.
pub async fn follow(url: String, recorder: Recorder) {
    let address = url.trim_start_matches("http://").to_owned();
    let mut next = 1;
    loop {
        let broken = watch(&address, &mut next, &recorder).await;
        if broken == Some(Broken::Compacted) {
            return recorder.lock().fault(OURS, "etcd has forgotten revisions");
        }
        // etcd may be down, or starting.
        sleep(Duration::from_millis(50)).await;
    }
}

#[derive(PartialEq, Eq)]
enum Broken {
    Compacted,
}

/// Follows etcd until the connection breaks.
async fn watch(address: &str, next: &mut i64, recorder: &Recorder) -> Option<Broken> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let wanted = json!({ "create_request": {
        "key": BASE64_STANDARD.encode(PREFIX),
        "range_end": BASE64_STANDARD.encode(END),
        "start_revision": *next,
    }});
    let request = Request::post("/v3/watch")
        .header(header::HOST, address)
        .body(Full::<bytes::Bytes>::from(wanted.to_string()))
        .expect("a request");
    let mut body = sender.send_request(request).await.ok()?.into_body();
    let mut pending = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { break };
        // A large message comes in many frames: only the newest one is searched for its end.
        let mut from = pending.len();
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().skip(from).position(|byte| *byte == b'\n') {
            let line = pending.split_to(from + end + 1);
            from = 0;
            let message: Value = serde_json::from_slice(&line).ok()?;
            if message["result"]["compact_revision"].is_string() {
                return Some(Broken::Compacted);
            }
            for event in message["result"]["events"].as_array().into_iter().flatten() {
                enter(event, recorder);
                let revision = event["kv"]["mod_revision"].as_str();
                *next = revision.and_then(|text| text.parse().ok()).unwrap_or(0) + 1;
            }
        }
    }
    None
}

fn enter(event: &Value, recorder: &Recorder) {
    let decode = |field: &str| {
        let text = event["kv"][field].as_str().unwrap_or_default();
        BASE64_STANDARD.decode(text).unwrap_or_default()
    };
    let key = String::from_utf8_lossy(&decode("key")).into_owned();
    let name = key
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('/'));
    let Some((namespace, name)) = name else {
        return recorder
            .lock()
            .fault(OURS, &format!("a key of etcd: {key}"));
    };
    if event["type"] == "DELETE" {
        return recorder.lost(namespace, name);
    }
    match serde_json::from_slice(&decode("value")) {
        Ok(secret) => recorder.saw(&secret),
        Err(_) => recorder.lock().fault(namespace, "not JSON"),
    }
}
