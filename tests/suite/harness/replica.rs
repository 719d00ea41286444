//! One process of ours, as the Deployment would run it: the shipped flags, the shipped rights.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tools::tool;
use super::{LIMIT, eventually};

/// Whom the API server asks.
const SERVICE: &str = "ecr-pull-secrets.ecr-pull-secrets.svc";

/// What a replica is started with.
pub struct Settings<'a> {
    /// Where its files go.
    pub directory: &'a Path,
    /// Its name, in file names.
    pub name: &'a str,
    /// Its rights.
    pub kubeconfig: &'a Path,
    /// `tls.crt`, `tls.key` and `ca.crt`; without them it has a CA of its own.
    pub certificates: Option<&'a Path>,
    /// The configuration file's text.
    pub config: &'a str,
    /// AWS, and whatever else its environment says.
    pub environment: &'a [(&'a str, String)],
    /// How much it says.
    pub log_level: &'a str,
}

/// A running process. It ends when this is dropped, or when the tests end in any other way.
pub struct Replica {
    child: Mutex<Option<(Child, ChildStdin)>>,
    /// As the Lease would say it.
    pub name: String,
    /// Of `/mutate`.
    pub https: SocketAddr,
    /// Of the probes.
    pub http: SocketAddr,
    /// Everything that it logged.
    pub log: PathBuf,
    connector: Option<TlsConnector>,
}

impl Replica {
    /// Starts it, without waiting for anything.
    pub fn start(settings: &Settings<'_>) -> Self {
        Self::launch(settings, None)
    }

    /// The same; it may not have more files open than this.
    pub fn start_with_few_files(settings: &Settings<'_>, files: u32) -> Self {
        Self::launch(settings, Some(files))
    }

    fn launch(settings: &Settings<'_>, files: Option<u32>) -> Self {
        let Settings {
            directory,
            name,
            kubeconfig,
            certificates,
            config,
            environment,
            log_level,
        } = *settings;
        let (https, http) = (free_address(), free_address());
        let config_file = directory.join(format!("{name}.yaml"));
        fs::write(&config_file, config).unwrap();
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(tool("cluster"));
        command.arg("lifeline").arg("--");
        if let Some(files) = files {
            let script = format!("ulimit -n {files} && exec \"$@\"");
            command.args(["/bin/sh", "-c", &script, "sh"]);
        }
        command.arg(binary()).arg("serve");
        command
            .arg("--config")
            .arg(config_file)
            .arg("--kubeconfig")
            .arg(kubeconfig);
        command.arg("--https-listen").arg(https.to_string());
        command.arg("--http-listen").arg(http.to_string());
        if let Some(certificates) = certificates {
            command.arg("--certificate-dir").arg(certificates);
        }
        command.args(["--log-level", log_level, "--log-format", "json"]);
        command
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("ECR_PULL_SECRETS_DRAIN_DELAY", "1")
            .env("HOSTNAME", name);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let mut child = command.spawn().expect("the webhook starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        Self {
            child: Mutex::new(Some((child, stdin))),
            name: name.to_owned(),
            https,
            http,
            log,
            connector: certificates.map(|directory| {
                let ca = fs::read(directory.join("ca.crt")).expect("a CA");
                connector(&ca)
            }),
        }
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        eventually("the webhook is ready", LIMIT, || async {
            self.get("/readyz")
                .await
                .filter(|(status, _)| *status == StatusCode::OK)
                .map(drop)
        })
        .await;
    }

    /// Asks the plain port.
    pub async fn get(&self, path: &str) -> Option<(StatusCode, String)> {
        let stream = TcpStream::connect(self.http).await.ok()?;
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .body(Full::default());
        let mut connection = Connection::over(stream).await?;
        let (head, body) = connection.ask(request.unwrap()).await?.into_parts();
        Some((head.status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The sum of a metric's series whose labels contain all of `labels`.
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

    /// Sends any request to the HTTPS port; the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        self.connect().await?.send(request).await
    }

    /// Connects to the HTTPS port ahead of a request that must not wait for a handshake.
    pub async fn connect(&self) -> Option<Connection> {
        Connection::over(self.handshake().await?).await
    }

    /// A stream to the HTTPS port, for whoever has something else to say than a request.
    pub async fn handshake(&self) -> Option<TlsStream<TcpStream>> {
        let connector = self.connector.as_ref().expect("a CA to trust");
        self.handshake_with(connector).await.ok()
    }

    /// The leaf that it shows to somebody who trusts these CAs, if he takes it.
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

    /// The number of the process itself, not of the lifeline that keeps it.
    pub fn process(&self) -> u32 {
        let address = self.http.to_string();
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let mut numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_it = |number: &u32| {
            let line = fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let mut words = line.split('\0').skip(1);
            words.next() == Some("serve") && words.any(|word| word == address)
        };
        numbers.find(is_it).expect("it runs")
    }

    /// How many files it has open, sockets included.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process());
        fs::read_dir(folder).expect("it runs").count()
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
        let mut child = self.child.lock().unwrap();
        let (_, stdin) = child.as_mut().expect("it was not stopped");
        writeln!(stdin, "{name}").expect("it runs");
    }

    /// The exit code, once it has ended by itself.
    pub async fn ended(&self) -> i32 {
        eventually("the end of the process", LIMIT, || async {
            let mut child = self.child.lock().unwrap();
            let (child, _) = child.as_mut().expect("it was not stopped");
            child.try_wait().expect("a look")?.code()
        })
        .await
    }

    /// Ends it at once, by SIGKILL.
    pub fn stop(&self) {
        if let Some((mut child, stdin)) = self.child.lock().unwrap().take() {
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

/// An open connection, for one request after the other.
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

    /// Sends a request as the API server would; the whole answer.
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

/// What was built with the tests, or another build of it: `ECR_PULL_SECRETS_BINARY`.
pub fn binary() -> PathBuf {
    std::env::var_os("ECR_PULL_SECRETS_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_ecr-pull-secrets")),
        PathBuf::from,
    )
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

/// A port that nobody listens on, and that nobody is given twice: not one of those from which
/// kernels and the cluster take theirs, or somebody has it before the replica listens.
pub fn free_address() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = || AtomicU16::new(10_000 + (RandomState::new().hash_one(()) % 9_000) as u16);
    loop {
        let port = NEXT.get_or_init(first).fetch_add(1, Ordering::Relaxed);
        assert!(port < 20_000, "no free port");
        if let Ok(listener) = StdListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}
