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
            if timeout(LIFE, converse(stream, routes)).await.is_err() {
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
