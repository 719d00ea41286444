//! The listener: accepts connections, passes requests to the router, and can close a connection with a TCP reset.
//!
//! It has its own accept loop, because `axum::serve` does not return the connection that the reset fault needs.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    routing::{get, put},
};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tower::ServiceExt;

use crate::{admin, api, client::Client, metadata, registry, state::Shared};

/// A handler's way to reset the connection of its request. In the request's extensions.
#[derive(Clone)]
pub(crate) struct Reset(Arc<Notify>);

impl Reset {
    /// Resets the connection; never returns, because there is no connection left to answer on.
    pub(crate) async fn now(&self) -> std::convert::Infallible {
        self.0.notify_one();
        std::future::pending().await
    }
}

/// A running stand-in. Dropping the handle stops it.
pub struct Handle {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Handle {
    /// `http://ADDRESS:PORT`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client for this stand-in.
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves on `listener` until the handle is dropped. Must be called inside a tokio runtime.
pub fn serve(listener: TcpListener) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let router = router(Shared::default());
    let accepting = tokio::spawn(accept(listener, router));
    Ok(Handle { address, accepting })
}

fn router(state: Shared) -> Router {
    Router::new()
        .nest("/admin", admin::router())
        .route("/v2", get(registry::ping))
        .route("/v2/", get(registry::ping))
        .route("/v2/{*path}", get(registry::object))
        .route("/credentials/{name}", get(metadata::container))
        .nest(
            "/metadata/{name}/latest",
            Router::new()
                .route("/api/token", put(metadata::token))
                .route("/meta-data/iam/security-credentials/", get(metadata::role))
                .route(
                    "/meta-data/iam/security-credentials/{role}",
                    get(metadata::instance),
                ),
        )
        .fallback(api::call)
        .with_state(state)
}

async fn accept(listener: TcpListener, router: Router) {
    // Owned by this task, so that aborting it also ends every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // The error is the peer's, or no file descriptor is free; the next accept may succeed.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, router.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let reset = Reset(Arc::new(Notify::new()));
    let notify = reset.0.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(reset.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut connection => {}
        () = notify.notified() => {
            // With a linger time of zero, the close sends RST instead of FIN.
            let stream = connection.into_parts().io.into_inner();
            let _ = stream.set_zero_linger();
        }
    }
}
