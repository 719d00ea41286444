//! The handler that does nothing, on our listener: what a review costs without us.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::launch::{binary, free_address};
use crate::harness::{LIMIT, eventually};
use crate::load;
use crate::site::{Site, image_environment};

/// What the handler does with a review.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Sends a constant answer.
    Constant,
    /// Echoes the uid, without a patch.
    Echo,
    /// Echoes the uid, with the patch that we send.
    Patch,
}

/// A running handler. It ends when this is dropped.
pub struct Nothing {
    child: Child,
    /// Address of HTTPS.
    pub address: SocketAddr,
}

impl Nothing {
    /// Starts it with the site's serving certificate.
    pub fn start(site: &Site, handler: Handler) -> Self {
        let address = free_address();
        let program = binary().with_file_name("do-nothing");
        assert!(
            program.exists(),
            "{}: cargo build --package do-nothing",
            program.display()
        );
        let mut command = Command::new(program);
        command.arg(address.to_string()).arg(site.certificates());
        match handler {
            Handler::Constant => {}
            Handler::Echo => _ = command.arg("echo"),
            Handler::Patch => _ = command.arg("patch"),
        }
        // The environment of a replica: it says how memory is managed.
        command.env_clear().envs(image_environment());
        let child = command.stdin(Stdio::piped()).spawn();
        Self {
            child: child.expect("the handler starts"),
            address,
        }
    }

    /// Waits until it answers: it listens before it has its certificate.
    pub async fn ready(&self) {
        let tls = TlsConnector::from(Arc::new(load::tls()));
        eventually("the handler answers", LIMIT, || async {
            let stream = TcpStream::connect(self.address).await.ok()?;
            let name = ServerName::try_from("webhook").expect("a name");
            tls.connect(name, stream).await.ok().map(drop)
        })
        .await;
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
