//! An open loop: each request is sent when it is due, answered or not, and timed from when it was due. A
//! closed loop would wait during a slow moment and not measure it.
//!
//! It runs as a process of its own, `bench load ADDRESS RATE SECONDS FILE`, on a core of its own. One
//! thread polls all connections and does not sleep: the scheduler wakes a sleeping thread late, and that
//! delay would count as ours.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use httparse::Status;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use tokio::time::Instant;

use crate::cores::{CLIENT, on_core};
use crate::harness::tools::run;
use crate::report::{median, quantiles};

/// Number of connections, as an API server has under such a load.
const CONNECTIONS: u32 = 8;
/// Share of the time at the start that does not count.
const WARM_UP: f64 = 0.2;

/// Latencies in ms.
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99th percentile of the median second: others show what else took a core.
    pub p99_of_middle: f64,
    /// Maximum.
    pub most: f64,
    /// Requests per second that were sent.
    pub rate: f64,
}

/// Sends the body in the file at this rate.
pub fn measure(address: &str, rate: f64, seconds: u64, body: &Path) -> Latency {
    let bench = std::env::current_exe().expect("a path");
    let said = on_core(CLIENT, || {
        let mut command = Command::new(bench);
        command.args(["load", address, &rate.to_string(), &seconds.to_string()]);
        run(command.arg(body))
    });
    let numbers: Vec<f64> = said.split_whitespace().flat_map(str::parse).collect();
    let [p50, p99, p99_of_middle, most, rate] = numbers[..] else {
        panic!("five numbers, not {said}");
    };
    Latency {
        p50,
        p99,
        p99_of_middle,
        most,
        rate,
    }
}

/// Entry of the process.
pub fn main(words: &[String]) {
    let [address, rate, seconds, body] = words else {
        panic!("want: bench load ADDRESS RATE SECONDS FILE");
    };
    let (rate, seconds): (f64, f64) = (rate.parse().expect("a rate"), seconds.parse().expect("s"));
    let body = std::fs::read(body).expect("a body");
    let mut request = format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    let tls = Arc::new(tls());
    let between = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
    let count = (rate * seconds / f64::from(CONNECTIONS)) as u32;
    let begin = Instant::now() + Duration::from_millis(500);
    let mut lines: Vec<Line> = (0..CONNECTIONS)
        .map(|number| Line::open(address, tls.clone(), begin + between * number / CONNECTIONS))
        .collect();
    let mut poll = Poll::new().expect("epoll");
    for (number, line) in lines.iter_mut().enumerate() {
        let registered =
            poll.registry()
                .register(&mut line.stream, Token(number), Interest::READABLE);
        registered.expect("epoll");
    }
    let mut events = Events::with_capacity(lines.len());
    let warm = (f64::from(count) * WARM_UP) as u32;
    let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    while lines.iter().any(|line| line.answered < count) {
        let now = Instant::now();
        for line in &mut lines {
            line.ask(&request, now, count);
        }
        poll.poll(&mut events, Some(Duration::ZERO)).expect("epoll");
        for event in &events {
            let line = &mut lines[event.token().0];
            let due = line.due;
            if let Some(took) = line.hear(between)
                && line.answered > warm
            {
                let second = due.duration_since(begin).as_secs();
                let times = seconds.entry(second).or_default();
                times.push(took.as_secs_f64() * 1000.0);
            }
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let sent = f64::from(count * CONNECTIONS) / took;
    let of_second = |times: &Vec<f64>| quantiles(times, [0.99])[0];
    let p99s: Vec<f64> = seconds.values().map(of_second).collect();
    let all = seconds.into_values().flatten().collect::<Vec<_>>();
    let [p50, p99, most] = quantiles(&all, [0.5, 0.99, 1.0]);
    println!("{p50} {p99} {} {most} {sent}", median(&p99s));
}

/// A connection with at most one request in flight.
struct Line {
    stream: TcpStream,
    tls: ClientConnection,
    /// Time at which the next request is due, or at which the one in flight was.
    due: Instant,
    asked: u32,
    answered: u32,
    /// Bytes of the answer so far.
    answer: Vec<u8>,
}

impl Line {
    fn open(address: &str, tls: Arc<ClientConfig>, due: Instant) -> Self {
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("webhook").expect("a name");
        let mut tls = ClientConnection::new(tls, name).expect("a connection");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).expect("a handshake");
        }
        stream.set_nonblocking(true).expect("a socket");
        Self {
            stream: TcpStream::from_std(stream),
            tls,
            due,
            asked: 0,
            answered: 0,
            answer: Vec::new(),
        }
    }

    /// Sends the request if it is due.
    fn ask(&mut self, request: &[u8], now: Instant, count: u32) {
        if self.asked == self.answered && self.asked < count && now >= self.due {
            self.tls.writer().write_all(request).expect("room for it");
            self.asked += 1;
        }
        while self.tls.wants_write() && ready(self.tls.write_tls(&mut self.stream)).is_some() {}
    }

    /// Reads available bytes; the latency once the answer is complete.
    fn hear(&mut self, between: Duration) -> Option<Duration> {
        // Epoll reports readiness once, so all of it is read.
        while let Some(read) = ready(self.tls.read_tls(&mut self.stream)) {
            assert!(read > 0, "it stays open");
            self.tls.process_new_packets().expect("TLS");
            // No more bytes for now.
            let _ = self.tls.reader().read_to_end(&mut self.answer);
            if is_whole(&self.answer) {
                self.answer.clear();
                self.answered += 1;
                let took = self.due.elapsed();
                self.due += between;
                return Some(took);
            }
        }
        None
    }
}

/// Result of an operation; none if it would block.
fn ready(done: io::Result<usize>) -> Option<usize> {
    match done {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("the connection broke: {error}"),
    }
}

/// Whether an answer is complete. It must be 200.
fn is_whole(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(head) = response.parse(answer).expect("HTTP") else {
        return false;
    };
    assert_eq!(response.code, Some(200));
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    assert_ne!(value("connection"), Some("close"), "it stays open");
    let length: usize = value("content-length")
        .and_then(|length| length.parse().ok())
        .expect("a length");
    answer.len() >= head + length
}

/// A TLS client that accepts any certificate.
pub fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth()
}

/// The identity of the server does not matter here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
