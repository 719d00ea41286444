//! Binds a port, on IPv4 alone where the machine has no IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;
use tracing::info;

use crate::exit::Failure;
use crate::telemetry::chain::chain;

/// Listens on the address, or on all IPv4 addresses where `[::]` is not to be had.
///
/// # Errors
///
/// [`Failure::Listen`] names the address.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if is_without_ipv6(address, &error) => {
            info!(%address, error = chain(&error), "listening on IPv4 only");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| Failure::Listen { address, source })
}

fn is_without_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && !matches!(error.kind(), AddrInUse | PermissionDenied)
}
