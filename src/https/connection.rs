//! One connection: a handshake, then one request after the other, until one side closes it.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connections::{Connection, ConnectionPhase, ConnectionSlot};
use super::drain::{DrainPhase, DrainSignal};

use crate::telemetry::chain::chain;

/// The read buffer in bytes: one TLS record. It lives as long as the connection, and the header of an
/// API server has some hundred bytes.
const READ_BUFFER: usize = 16 * 1024;

/// A handler of requests.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. It calls [`Connection::request_received`] when the body is complete, and
    /// [`Connection::review_decoded`] when the body is valid.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Serves one client until the connection ends or is evicted.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Arc<S>,
    drain: DrainSignal,
    slot: ConnectionSlot,
) {
    let connection = slot.connection();
    let ended = tokio::select! {
        // An evicted connection starts nothing new.
        biased;
        () = connection.evicted() => {
            debug!(phase = ?connection.phase(), "connection evicted");
            return;
        }
        ended = converse(stream, acceptor, service, drain, connection.clone()) => ended,
    };
    if let Err(error) = ended {
        debug!(error = chain(&error), "connection ended");
    }
}

async fn converse<S: Service>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Arc<S>,
    mut drain: DrainSignal,
    connection: Arc<Connection>,
) -> io::Result<()> {
    // Otherwise an answer in two small writes waits some 40 ms for an acknowledgement.
    stream.set_nodelay(true)?;
    let stream = tokio::select! {
        stream = acceptor.accept(stream) => stream?,
        // The client has sent no request yet.
        () = drain.reached(DrainPhase::Closing) => return Ok(()),
    };
    connection.enter(ConnectionPhase::Idle);
    let stream = WatchedStream {
        stream,
        connection: connection.clone(),
        drain: drain.clone(),
    };
    let signal = drain.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, connection, signal) = (service.clone(), connection.clone(), signal.clone());
        async move {
            connection.enter(ConnectionPhase::Body);
            let has_body = !request.body().is_end_stream();
            let mut response = service.answer(request, &connection).await;
            if connection.is_old() || signal.phase() >= DrainPhase::Draining {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            connection.answer_ready(has_body);
            Ok::<_, Infallible>(response)
        }
    });
    let http = Builder::new()
        // This timeout would run on idle connections, too. `ConnectionPhase::limit` replaces it.
        .header_read_timeout(None)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    tokio::select! {
        ended = http.as_mut() => return ended.map_err(io::Error::other),
        () = drain.reached(DrainPhase::Closing) => http.as_mut().graceful_shutdown(),
    }
    http.await.map_err(io::Error::other)
}

/// A stream that notes the phase when a request begins and when an answer is sent.
struct WatchedStream {
    stream: TlsStream<TcpStream>,
    connection: Arc<Connection>,
    drain: DrainSignal,
}

impl WatchedStream {
    /// Discards input until the client closes. The kernel resets a socket that is closed with unread
    /// input, and the client would lose the answer.
    fn poll_linger(&mut self, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            let (socket, _) = self.stream.get_mut();
            task::ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.connection.phase() == ConnectionPhase::Idle {
            self.connection.enter(ConnectionPhase::Header);
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        let is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        if is_flushed && self.connection.phase() == ConnectionPhase::Answer {
            self.connection.enter(ConnectionPhase::Idle);
        }
        flushed
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.phase() != ConnectionPhase::Linger {
            task::ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            // A process that ends does not wait for clients that were refused.
            if !self.connection.has_unread_body() || self.drain.phase() >= DrainPhase::Closing {
                return Poll::Ready(Ok(()));
            }
            self.connection.enter(ConnectionPhase::Linger);
        }
        self.poll_linger(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
