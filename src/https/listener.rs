//! Accepts connections, speaks TLS and HTTP/1.1 on them, and lets go of them gently.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::drain::{Phase, Signal};

/// The API server needs some milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Go's transport drops idle connections after 90 s. Whoever closes first must not be us: a POST
/// on a dead connection is not tried again. hyper's limit for reading a header runs on idle
/// connections as well.
const IDLE: Duration = Duration::from_secs(120);
/// Connections at a time. An API server holds a few dozen.
const CONNECTIONS: usize = 4096;
/// After accept(2) failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until the drain is over. Returns when the last connection is gone.
///
/// # Errors
///
/// None: a failing accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    mut drain: Signal,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut closing = drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            Some(_) = connections.join_next() => continue,
            () = closing.reached(Phase::Closing) => break,
        };
        let Some(stream) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!("connection refused: too many");
            continue;
        };
        let (acceptor, router, drain) = (acceptor.clone(), router.clone(), drain.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, acceptor, router, drain).await {
                debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    drain.reached(Phase::Closing).await;
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        // The other side gave up while it waited in the queue.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            None
        }
    }
}

async fn converse(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    mut drain: Signal,
) -> io::Result<()> {
    // An answer in two small writes would wait some 40 ms for an acknowledgement.
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let phase = drain.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, phase) = (router.clone(), phase.clone());
        async move {
            let mut response: Response<Body> = router
                .oneshot(request)
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            if phase.phase() >= Phase::Draining {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = drain.reached(Phase::Closing) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(io::Error::other)
}
