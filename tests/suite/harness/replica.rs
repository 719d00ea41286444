//! One running replica: its ports, its log, its signals.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{LIMIT, eventually};

/// Name of the Service, as the API server calls it.
const SERVICE: &str = "ecr-pull-secrets.ecr-pull-secrets.svc";

/// A running replica. It ends when this is dropped, and when this process ends.
pub struct Replica {
    child: Mutex<Option<(Child, ChildStdin)>>,
    /// Name in the Lease.
    pub name: String,
    /// Address of `/mutate`.
    pub https: SocketAddr,
    /// Address of probes and metrics.
    pub http: SocketAddr,
    /// File of its log.
    pub log: PathBuf,
    connector: Option<TlsConnector>,
}

impl Replica {
    /// Wraps a process that a launch started. `ca` signs its serving certificate, if a file holds it.
    pub(super) fn of(
        name: String,
        mut child: Child,
        [https, http]: [SocketAddr; 2],
        log: PathBuf,
        ca: Option<&[u8]>,
    ) -> Self {
        let stdin = child.stdin.take().expect("stdin is piped");
        Self {
            child: Mutex::new(Some((child, stdin))),
            name,
            https,
            http,
            log,
            connector: ca.map(connector),
        }
    }

    /// Waits until `/readyz` says 200.
    pub async fn ready(&self) {
        eventually("the replica is ready", LIMIT, || async {
            self.get("/readyz")
                .await
                .filter(|(status, _)| *status == StatusCode::OK)
                .map(drop)
        })
        .await;
    }

    /// Replaces the text of the configuration file, as the kubelet does: at one moment.
    pub fn configure(&self, config: &str) {
        let file = self.log.with_extension("yaml");
        let next = self.log.with_extension("yaml.next");
        fs::write(&next, config).expect("a file");
        fs::rename(next, file).expect("the same folder");
    }

    /// Sends a request to the port of probes and metrics.
    pub async fn get(&self, path: &str) -> Option<(StatusCode, String)> {
        let stream = TcpStream::connect(self.http).await.ok()?;
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .body(Full::default());
        let mut connection = Connection::over(stream).await?;
        let (head, body) = connection.ask(request.unwrap()).await?.into_parts();
        Some((head.status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sum of a metric's series whose labels contain all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("metrics");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Sends a body to `/mutate` as the API server would, on a connection of its own.
    pub async fn post(&self, body: impl Into<Bytes>) -> Option<(StatusCode, Bytes)> {
        self.post_to("/mutate?timeout=5s", "application/json", body)
            .await
    }

    /// The same with another target or content type.
    pub async fn post_to(
        &self,
        target: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Option<(StatusCode, Bytes)> {
        let request = Request::post(target)
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body.into()))
            .unwrap();
        let (head, body) = self.send(request).await?.into_parts();
        Some((head.status, body))
    }

    /// Sends any request to the HTTPS port; the complete answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        self.connect().await?.send(request).await
    }

    /// Connects to the HTTPS port ahead of a request that must not wait for a handshake.
    pub async fn connect(&self) -> Option<Connection> {
        Connection::over(self.handshake().await?).await
    }

    /// A stream to the HTTPS port, for bytes that are no well-formed request.
    pub async fn handshake(&self) -> Option<TlsStream<TcpStream>> {
        let connector = self.connector.as_ref().expect("a CA to trust");
        self.handshake_with(connector).await.ok()
    }

    /// The leaf that the replica serves, if it verifies against these CAs.
    pub async fn leaf(&self, cas: &[u8]) -> io::Result<Vec<u8>> {
        let stream = self.handshake_with(&connector(cas)).await?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().expect("a chain");
        Ok(chain[0].to_vec())
    }

    async fn handshake_with(&self, connector: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::try_from(SERVICE).unwrap();
        connector.connect(name, stream).await
    }

    /// Process id of the replica, not of the lifeline around it.
    pub fn process(&self) -> u32 {
        let address = self.http.to_string();
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let mut numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_it = |number: &u32| {
            let line = fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let mut words = line.split('\0').skip(1);
            words.next() == Some("serve") && words.any(|word| word == address)
        };
        numbers.find(is_it).expect("the replica runs")
    }

    /// Number of open files, sockets included.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process());
        fs::read_dir(folder).expect("the replica runs").count()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("terminate");
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        self.signal("interrupt");
    }

    /// Sends SIGSTOP.
    pub fn freeze(&self) {
        self.signal("freeze");
    }

    /// Sends SIGCONT.
    pub fn thaw(&self) {
        self.signal("thaw");
    }

    fn signal(&self, name: &str) {
        let mut child = self.child.lock();
        let (_, stdin) = child.as_mut().expect("the replica was not stopped");
        writeln!(stdin, "{name}").expect("the replica runs");
    }

    /// Waits until the process ends by itself; the exit code.
    pub async fn ended(&self) -> i32 {
        eventually("the end of the process", LIMIT, || async {
            let mut child = self.child.lock();
            let (child, _) = child.as_mut().expect("the replica was not stopped");
            child.try_wait().expect("an answer")?.code()
        })
        .await
    }

    /// Ends the process at once, by SIGKILL.
    pub fn stop(&self) {
        if let Some((mut child, stdin)) = self.child.lock().take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An open connection, for one request after another.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn over<S>(stream: S) -> Option<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Self(sender))
    }

    /// Sends a request as the API server does; the complete answer.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        let host = HeaderValue::from_static(SERVICE);
        request.headers_mut().insert(header::HOST, host);
        self.ask(request).await
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        let exchange = async {
            self.0.ready().await.ok()?;
            let (head, body) = self.0.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Response::from_parts(head, body))
        };
        tokio::time::timeout(Duration::from_secs(30), exchange)
            .await
            .expect("an answer in time")
    }
}

fn connector(cas: &[u8]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(cas) {
        roots.add(ca.expect("a CA")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
