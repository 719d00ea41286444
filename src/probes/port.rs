//! Connections to the plain port: few, short, and one request on each.
//!
//! Anybody who reaches the pod may connect, and a probe asks once in some seconds. So whoever comes
//! is let in, and the oldest goes when there are too many: who holds a place without asking keeps
//! neither a probe out nor file descriptors from the HTTPS port.

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

use crate::https::listener::{Troubles, accept};

/// Connections at a time.
const CAPACITY: usize = 64;
/// For the header.
const HEADER: Duration = Duration::from_secs(5);
/// For all of it, until the client has taken the answer.
const LIFE: Duration = Duration::from_secs(10);
/// What is read ahead, at most; hyper takes no less.
const BUFFER: usize = 8 * 1024;

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    serve_each(listener, routes, LIFE).await;
}

async fn serve_each(listener: TcpListener, routes: Router, life: Duration) {
    let places = Arc::new(Semaphore::new(CAPACITY));
    let mut open = VecDeque::<AbortHandle>::new();
    let mut troubles = Troubles::default();
    loop {
        let stream = accept(&listener, &mut troubles, || cut_oldest(&mut open)).await;
        if places.available_permits() == 0 {
            cut_oldest(&mut open);
        }
        // One that is cut has its place until it is gone, and so its file descriptor.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let routes = routes.clone();
        let conversation = tokio::spawn(async move {
            if timeout(life, converse(stream, routes)).await.is_err() {
                debug!("connection to the plain port cut");
            }
            drop(place);
        });
        open.retain(|conversation| !conversation.is_finished());
        open.push_back(conversation.abort_handle());
        // A request that is here already is answered before others come.
        yield_now().await;
    }
}

fn cut_oldest(open: &mut VecDeque<AbortHandle>) {
    if let Some(oldest) = open.pop_front() {
        oldest.abort();
    }
}

async fn converse(stream: TcpStream, routes: Router) {
    let ended = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = ended {
        debug!(%error, "connection to the plain port ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_cut_in_the_end() {
        /// More than sockets hold for somebody who does not read.
        const LENGTH: usize = 64 * 1024 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| async { vec![0_u8; LENGTH] }));
        let life = Duration::from_millis(100);
        tokio::spawn(serve_each(listener, routes, life));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.readable().await.unwrap();
        // Its life began before its answer did.
        sleep(life).await;
        let mut answer = Vec::new();
        // Whether it is cut in order or reset is the kernel's affair.
        let _ = client.read_to_end(&mut answer).await;
        assert!(
            !answer.is_empty() && answer.len() < LENGTH,
            "{}",
            answer.len()
        );
    }
}
