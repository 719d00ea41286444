//! Connections to the plain port: few, short, and one request on each.
//!
//! Any client that reaches the pod may connect, and a probe asks once in some seconds. So every new
//! connection is accepted, and the oldest one is closed when there are too many. A client that
//! holds a slot without a request thus blocks no probe, and takes no file descriptor from the HTTPS
//! port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;
use tracing::debug;

use crate::https::accept::{AcceptFailures, accept};
use crate::telemetry::chain::chain;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// The time limit of a header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of a connection, until the client has received the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The read buffer in bytes, the smallest that hyper accepts.
const READ_BUFFER: usize = 8 * 1024;

/// Never returns.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    serve_within(listener, routes, CONNECTION_TIMEOUT).await;
}

async fn serve_within(listener: TcpListener, routes: Router, limit: Duration) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = VecDeque::<AbortHandle>::new();
    let mut failures = AcceptFailures::default();
    loop {
        let stream = accept(&listener, &mut failures, || close_oldest(&mut open)).await;
        if slots.available_permits() == 0 {
            close_oldest(&mut open);
        }
        // A closed connection keeps its slot until its file descriptor is free.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let routes = routes.clone();
        let conversation = tokio::spawn(async move {
            if timeout(limit, converse(stream, routes)).await.is_err() {
                debug!("connection to the plain port closed at its time limit");
            }
            drop(slot);
        });
        open.retain(|conversation| !conversation.is_finished());
        open.push_back(conversation.abort_handle());
        // A request that has arrived is answered before the next connection is accepted.
        yield_now().await;
    }
}

fn close_oldest(open: &mut VecDeque<AbortHandle>) {
    if let Some(oldest) = open.pop_front() {
        oldest.abort();
    }
}

async fn converse(stream: TcpStream, routes: Router) {
    let ended = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = ended {
        debug!(error = chain(&error), "connection to the plain port ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn client_that_does_not_read_is_closed() {
        /// More than sockets buffer for a client that does not read.
        const LENGTH: usize = 64 * 1024 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| async { vec![0_u8; LENGTH] }));
        let limit = Duration::from_millis(100);
        tokio::spawn(serve_within(listener, routes, limit));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.readable().await.unwrap();
        // The time limit began before the answer did.
        sleep(limit).await;
        let mut answer = Vec::new();
        // The kernel decides whether the connection is closed or reset.
        let _ = client.read_to_end(&mut answer).await;
        assert!(
            !answer.is_empty() && answer.len() < LENGTH,
            "{}",
            answer.len()
        );
    }
}
