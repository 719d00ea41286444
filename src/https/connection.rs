//! One connection: handshake, then one request after the other, until somebody has had enough.

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

use super::connections::{Connection, Open, Phase};
use super::drain::{self, Signal};

/// A TLS record. An API server's header has some hundred bytes, and what is read is kept for as
/// long as the connection lives.
const BUFFER: usize = 16 * 1024;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one. [`Connection::has_asked`] is to be told when its body is here, and
    /// [`Connection::is_understood`] when it is what it should be.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Speaks with one client until its end, whatever that is.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Arc<S>,
    drain: Signal,
    open: Open,
) {
    let connection = open.connection();
    let ended = tokio::select! {
        // Whoever is cut begins nothing more.
        biased;
        () = connection.is_cut() => {
            debug!(phase = ?connection.phase(), "connection cut");
            return;
        }
        ended = converse(stream, acceptor, service, drain, connection.clone()) => ended,
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

async fn converse<S: Service>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Arc<S>,
    mut drain: Signal,
    connection: Arc<Connection>,
) -> io::Result<()> {
    // An answer in two small writes would wait some 40 ms for an acknowledgement.
    stream.set_nodelay(true)?;
    let stream = tokio::select! {
        stream = acceptor.accept(stream) => stream?,
        // It asked for nothing yet.
        () = drain.reached(drain::Phase::Closing) => return Ok(()),
    };
    connection.enter(Phase::Idle);
    let stream = Watched {
        stream,
        connection: connection.clone(),
        drain: drain.clone(),
    };
    let phase = drain.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, connection, phase) = (service.clone(), connection.clone(), phase.clone());
        async move {
            connection.enter(Phase::Body);
            let has_body = !request.body().is_end_stream();
            let mut response = service.answer(request, &connection).await;
            if connection.is_old() || phase.phase() >= drain::Phase::Draining {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            connection.has_answer(has_body);
            Ok::<_, Infallible>(response)
        }
    });
    let http = Builder::new()
        // It would run on idle connections as well; see `Phase::limit`.
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    tokio::select! {
        ended = http.as_mut() => return ended.map_err(io::Error::other),
        () = drain.reached(drain::Phase::Closing) => http.as_mut().graceful_shutdown(),
    }
    http.await.map_err(io::Error::other)
}

/// A stream that tells when a request begins and when an answer is out.
struct Watched {
    stream: TlsStream<TcpStream>,
    connection: Arc<Connection>,
    drain: Signal,
}

impl Watched {
    /// Throws away what comes until the client has had enough. A socket that is closed over bytes
    /// that nobody read is reset, and the answer is lost on its way.
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

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.connection.phase() == Phase::Idle {
            self.connection.enter(Phase::Header);
        }
        read
    }
}

impl AsyncWrite for Watched {
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
        if matches!(flushed, Poll::Ready(Ok(()))) && self.connection.phase() == Phase::Answer {
            self.connection.enter(Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.phase() != Phase::Linger {
            task::ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            // A process that ends waits for nobody who was refused.
            if !self.connection.leaves_rest() || self.drain.phase() >= drain::Phase::Closing {
                return Poll::Ready(Ok(()));
            }
            self.connection.enter(Phase::Linger);
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
