//! How a replica is started: the flags that ship, with the files, rights and environment of a world.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use super::memory::MemoryGroup;
use super::replica::Replica;
use super::tools::tool;

/// A replica that is about to start. Everything has the world's default.
#[derive(Clone)]
pub struct Launch {
    pub(super) name: String,
    /// Folder of configuration and log.
    pub(super) directory: PathBuf,
    pub(super) kubeconfig: PathBuf,
    /// Folder of `tls.crt`, `tls.key` and `ca.crt`; without it the replicas sign their own.
    pub(super) certificates: Option<PathBuf>,
    pub(super) config: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) log_level: &'static str,
    pub(super) log_format: &'static str,
    pub(super) max_open_files: Option<u32>,
    /// The file that moves the process into a control group.
    pub(super) group: Option<PathBuf>,
}

impl Launch {
    /// Replaces the text of the configuration file.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// Replaces the kubeconfig, and with it the account.
    pub fn kubeconfig(mut self, kubeconfig: &Path) -> Self {
        kubeconfig.clone_into(&mut self.kubeconfig);
        self
    }

    /// Replaces the folder with `tls.crt`, `tls.key` and `ca.crt`.
    pub fn certificates(mut self, directory: &Path) -> Self {
        self.certificates = Some(directory.to_owned());
        self
    }

    /// The environment, for another verb than `serve`.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.environment.clone();
        environment.push(("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()));
        environment
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self = self.without_env(name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Removes a variable of the environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Sets level and format of the log.
    pub fn log(mut self, level: &'static str, format: &'static str) -> Self {
        (self.log_level, self.log_format) = (level, format);
        self
    }

    /// Limits the open files of the process, sockets included.
    pub fn max_open_files(mut self, files: u32) -> Self {
        self.max_open_files = Some(files);
        self
    }

    /// Limits the memory of the process.
    pub fn memory(mut self, group: &MemoryGroup) -> Self {
        self.group = Some(group.entry());
        self
    }

    /// Starts the process. [`Replica::ready`] waits until it is ready.
    pub fn start(self) -> Replica {
        let config = self.directory.join(format!("{}.yaml", self.name));
        fs::write(&config, &self.config).expect("a configuration file");
        let log = self.directory.join(format!("{}.log", self.name));
        let output = File::create(&log).expect("a log file");
        let (https, http) = (free_address(), free_address());
        let mut command = Command::new(tool("cluster"));
        command.arg("lifeline").arg("--");
        if let Some(files) = self.max_open_files {
            let script = format!("ulimit -n {files} && exec \"$@\"");
            command.args(["/bin/sh", "-c", &script, "sh"]);
        }
        if let Some(group) = &self.group {
            let script = format!("echo $$ > {} && exec \"$@\"", group.display());
            command.args(["/bin/sh", "-c", &script, "sh"]);
        }
        command.arg(binary()).arg("serve");
        command.arg("--config").arg(config);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--https-listen").arg(https.to_string());
        command.arg("--http-listen").arg(http.to_string());
        if let Some(certificates) = &self.certificates {
            command.arg("--certificate-dir").arg(certificates);
        }
        command.args(["--log-level", self.log_level]);
        command.args(["--log-format", self.log_format]);
        command
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("ECR_PULL_SECRETS_DRAIN_DELAY", "1")
            .env("HOSTNAME", &self.name)
            .envs(self.environment);
        command
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output);
        let child = command.spawn().expect("the replica starts");
        let ca = self.certificates.map(|directory| {
            fs::read(directory.join("ca.crt")).expect("a CA beside the certificate")
        });
        Replica::of(self.name, child, [https, http], log, ca.as_deref())
    }
}

/// The binary that was built with the tests, or the one that `ECR_PULL_SECRETS_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("ECR_PULL_SECRETS_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_ecr-pull-secrets")),
        PathBuf::from,
    )
}

/// A free port of loopback, handed out once. It is below the ports that the kernel and the control
/// plane hand out: they could take one of theirs before the replica listens.
pub fn free_address() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = || AtomicU16::new(10_000 + (RandomState::new().hash_one(()) % 9_000) as u16);
    loop {
        let port = NEXT.get_or_init(first).fetch_add(1, Ordering::Relaxed);
        assert!(port < 20_000, "no free port");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}
