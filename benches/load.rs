//! An open loop: requests go out when they are due, whether or not earlier ones are answered, and
//! each is timed from when it was due. A closed loop would wait out a slow moment and not see it.
//!
//! It runs as a process of its own, `bench load ADDRESS RATE SECONDS FILE`, to have a core to itself,
//! with a thread a connection: they sleep to a tenth of a millisecond, which an async runtime does not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tokio::time::Instant;

use crate::cores::{CLIENT, on_core};
use crate::harness::tools::run;

/// As many as an API server has under such a load.
const CONNECTIONS: u32 = 8;
/// At the start, in which nothing counts.
const WARM_UP: f64 = 0.2;

/// What was seen, in ms.
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// All of them.
    pub most: f64,
    /// Requests a second that were really sent.
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
    let [p50, p99, most, rate] = numbers[..] else {
        panic!("four numbers, not {said}");
    };
    Latency {
        p50,
        p99,
        most,
        rate,
    }
}

/// The process itself.
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
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let stream = TcpStream::connect(address).expect("a connection");
            let (tls, request) = (tls.clone(), request.clone());
            let first = begin + between * number / CONNECTIONS;
            thread::spawn(move || converse(stream, tls, &request, first, between, count))
        })
        .collect();
    let mut times = Vec::new();
    let mut end = begin;
    for thread in threads {
        let (seen, last) = thread.join().expect("all answers");
        times.extend(seen);
        end = end.max(last);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let sent = f64::from(count * CONNECTIONS) / (end - begin).as_secs_f64();
    println!("{} {} {} {sent}", at(0.5), at(0.99), at(1.0));
}

/// One connection; how long each answer took, and when the last one came.
fn converse(
    stream: TcpStream,
    tls: Arc<ClientConfig>,
    request: &[u8],
    first: Instant,
    between: Duration,
    count: u32,
) -> (Vec<f64>, Instant) {
    stream.set_nodelay(true).expect("a socket");
    let name = ServerName::try_from("webhook").expect("a name");
    let connection = ClientConnection::new(tls, name).expect("a connection");
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut times = Vec::new();
    for number in 0..count {
        let due = first + between * number;
        // Not at all if it is late already.
        thread::sleep(due.duration_since(Instant::now()));
        stream.get_mut().write_all(request).expect("it is sent");
        read(&mut stream);
        if f64::from(number) >= f64::from(count) * WARM_UP {
            times.push(due.elapsed().as_secs_f64() * 1000.0);
        }
    }
    (times, Instant::now())
}

/// One answer, which has to be 200.
fn read(stream: &mut BufReader<StreamOwned<ClientConnection, TcpStream>>) {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).expect("a header");
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        assert!(!lower.starts_with("connection: close"), "it stays open");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
}

/// Speaks with whoever answers.
pub fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth()
}

/// Who answers is not the question here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
