//! The connections to the API server: `kube`'s own layers, on sockets that notice a dead peer.
//!
//! A watch only reads, so without help it never learns that the other end is gone: a node that lost its
//! network, or a load balancer that forgot the connection, sends nothing. The kernel asks every few
//! seconds whether the peer is there. A middle box may answer in its place, so a watch that brings
//! nothing for [`WATCH_READ_TIMEOUT`] ends as well.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::{Client, Config};
use tower::{BoxError, Layer as _, ServiceBuilder};

use super::sift::Sifting;

/// The longest silence of a watch. The API server sends a bookmark every 60 to 76 s: a shorter limit
/// would end healthy watches.
pub(super) const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(90);

/// The silence after which the kernel asks whether the peer is there, and its further attempts. Without
/// an answer, a connection is dead 45 s after its last byte.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// The longest wait for the acknowledgement of what was sent: the kernel does not ask meanwhile. Also
/// the limit of its questions, so no shorter than they take.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(45);

/// The limits of a client.
pub(super) struct ConnectionLimits {
    pub(super) connect: Duration,
    /// The longest silence within an answer.
    pub(super) read: Duration,
}

/// A client that [sifts](super::sift) what it reads. It retries nothing, and takes no proxy.
///
/// # Errors
///
/// What the kubeconfig gives is of no use: a key, a certificate, a plug-in.
pub(super) fn client(
    config: &Config,
    limits: &ConnectionLimits,
    sifting: &Sifting,
) -> kube::Result<Client> {
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp())?);
    connector.set_connect_timeout(Some(limits.connect));
    connector.set_read_timeout(Some(limits.read));
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    let service = sifting.layer(service);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Opens connections that notice a dead peer.
fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(KEEPALIVE_IDLE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT));
    connector
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn socket_notices_a_dead_peer_within_75_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let uri = format!("https://{address}").parse::<http::Uri>().unwrap();
        let stream = tcp().oneshot(uri).await.unwrap().into_inner();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        let interval = socket.tcp_keepalive_interval().unwrap();
        let asked = idle + interval * socket.tcp_keepalive_retries().unwrap();
        let limit = socket.tcp_user_timeout().unwrap().unwrap();
        // Linux gives up at the limit, however many questions are left.
        assert!(
            asked <= limit && limit <= Duration::from_secs(75),
            "{asked:?} {limit:?}"
        );
    }
}
