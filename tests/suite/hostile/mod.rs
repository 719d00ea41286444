//! Hostile and broken clients: each gets its answer, and no other client is affected.

pub mod floods;
pub mod requests;
pub mod slots;
pub mod tenant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::harness::replica::Replica;
use crate::harness::{LIMIT, eventually};
use crate::shared;

/// A small review of a pod without ECR images.
pub fn review() -> String {
    use crate::harness::{namespace, review};
    review::of_pod("default", &namespace::pod("pod", "busybox")).to_string()
}

/// Head of a review's request, with further headers.
pub fn head(headers: &str) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{headers}\r\n"
    )
}

/// A request as the API server sends it.
pub fn request(body: &str) -> String {
    head(&format!("Content-Length: {}\r\n", body.len())) + body
}

/// Sends bytes on a new connection, and keeps it open.
pub async fn say(replica: &Replica, bytes: impl AsRef<[u8]>) -> TlsStream<TcpStream> {
    // Under load a new connection may be evicted for another.
    let mut stream = eventually("a handshake", LIMIT, || replica.handshake()).await;
    // A closed connection shows at the next read.
    if stream.write_all(bytes.as_ref()).await.is_ok() {
        let _ = stream.flush().await;
    }
    stream
}

/// All bytes until the connection ends.
pub async fn until_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut heard = Vec::new();
    // A reset is an end, too.
    let end = timeout(LIMIT, stream.read_to_end(&mut heard)).await;
    let _ = end.expect("the connection ends");
    String::from_utf8_lossy(&heard).into_owned()
}

/// The next answer on a connection.
pub async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    if_answered(stream).await.expect("an answer")
}

/// The next answer, unless the connection ends before.
pub async fn if_answered(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut heard = Vec::new();
    let whole = async {
        while !is_whole(&heard) {
            stream.read_buf(&mut heard).await.ok().filter(|n| *n > 0)?;
        }
        Some(())
    };
    timeout(LIMIT, whole).await.expect("an answer in time")?;
    Some(String::from_utf8_lossy(&heard).into_owned())
}

fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard).to_lowercase();
    text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length = length.lines().next().expect("a line");
        body.len() >= length.parse::<usize>().expect("a number")
    })
}

/// Status code of an answer.
pub fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}
