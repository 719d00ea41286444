//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ecr_pull_secrets_core::config::duration;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::rules::Glob;
use tracing::level_filters::LevelFilter;

use crate::config::DEFAULT_PATH;
use crate::telemetry::logs::Format;

/// Pull secrets for Amazon ECR, made just in time.
#[derive(Debug, Parser)]
#[command(name = "ecr-pull-secrets", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file; its absence means the defaults.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = DEFAULT_PATH,
        env = "ECR_PULL_SECRETS_CONFIG"
    )]
    pub(crate) config: PathBuf,
    /// Format of the log lines.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "ECR_PULL_SECRETS_LOG_FORMAT"
    )]
    pub(crate) log_format: Format,
    /// off, error, warn, info, debug or trace; by default info for `serve`, and warn for the other
    /// verbs. Libraries log nothing.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "ECR_PULL_SECRETS_LOG_LEVEL"
    )]
    pub(crate) log_level: Option<LevelFilter>,
}

/// The cluster to talk to.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Kubeconfig file; by default $KUBECONFIG, ~/.kube/config or the pod's ServiceAccount.
    #[arg(long, value_name = "FILE", env = "ECR_PULL_SECRETS_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig.
    #[arg(long, value_name = "NAME", env = "ECR_PULL_SECRETS_CONTEXT")]
    pub(crate) context: Option<String>,
    /// The namespace of ecr-pull-secrets itself.
    #[arg(
        short,
        long,
        default_value = "ecr-pull-secrets",
        env = "ECR_PULL_SECRETS_NAMESPACE"
    )]
    pub(crate) namespace: String,
}

/// The access to AWS.
#[derive(Debug, Args)]
pub(crate) struct Aws {
    /// Directory of a mounted Secret with AWS keys, read again at each use. Without keys there, the
    /// AWS SDK's default credential chain is used.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/run/secrets/aws",
        env = "ECR_PULL_SECRETS_AWS_CREDENTIALS_DIR"
    )]
    pub(crate) aws_credentials_dir: PathBuf,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer admission reviews and manage pull Secrets.
    Serve(Box<Serve>),
    /// Make the pull Secrets of all namespaces right, once, and say what was done.
    Sync(Box<SyncFlags>),
    /// Print the version.
    Version,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Address of the admission endpoint.
    #[arg(
        long,
        default_value = "[::]:10250",
        env = "ECR_PULL_SECRETS_HTTPS_LISTEN"
    )]
    pub(crate) https_listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(
        long,
        default_value = "[::]:8080",
        env = "ECR_PULL_SECRETS_HTTP_LISTEN"
    )]
    pub(crate) http_listen: SocketAddr,
    /// Directory with tls.crt and tls.key, loaded again when they change. Without it the replicas
    /// manage a self-signed CA and certificate, and set the caBundle of the registration.
    #[arg(long, value_name = "DIR", env = "ECR_PULL_SECRETS_CERTIFICATE_DIR")]
    pub(crate) certificate_dir: Option<PathBuf>,
    /// Lifetime of a self-signed certificate. It is renewed at two thirds of it; its CA lives six
    /// times as long.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "90d",
        value_parser = lifetime,
        env = "ECR_PULL_SECRETS_CERTIFICATE_LIFETIME"
    )]
    pub(crate) certificate_lifetime: Duration,
    #[command(flatten)]
    pub(crate) aws: Aws,
    /// Seconds during which connections are still accepted after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "12", value_parser = seconds, env = "ECR_PULL_SECRETS_DRAIN_DELAY")]
    pub(crate) drain_delay: Duration,
    /// Seconds after which a connection is closed, at the latest twice as many. It is closed after an
    /// answer, so that new replicas get their share of the traffic.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds, env = "ECR_PULL_SECRETS_CONNECTION_AGE")]
    pub(crate) connection_age: Duration,
    /// The installation has the guard policy that denies every further right, and its absence is
    /// reported. The chart sets this flag with `guard.rest`.
    #[arg(long, env = "ECR_PULL_SECRETS_GUARD_REST")]
    pub(crate) guard_rest: bool,
    /// Print the effective configuration and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Flags of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncFlags {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Patterns of namespaces, such as team-*,web; all by default.
    #[arg(
        long,
        value_name = "GLOB,…",
        value_delimiter = ',',
        value_parser = glob,
        env = "ECR_PULL_SECRETS_NAMESPACES"
    )]
    pub(crate) namespaces: Vec<Glob>,
    /// Label selector of namespaces, as kubectl takes it.
    #[arg(long, value_name = "LABELS", env = "ECR_PULL_SECRETS_SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Hosts that the Secrets shall open, in place of what pods and the configuration want. The rules
    /// still apply.
    #[arg(
        long,
        value_name = "HOST,…",
        value_delimiter = ',',
        value_parser = registry,
        env = "ECR_PULL_SECRETS_REGISTRIES"
    )]
    pub(crate) registries: Vec<Registry>,
    /// Take a new token also where the old one is fresh.
    #[arg(long, env = "ECR_PULL_SECRETS_RENEW")]
    pub(crate) renew: bool,
    /// How the result is printed.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        env = "ECR_PULL_SECRETS_OUTPUT"
    )]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) aws: Aws,
}

/// How a verb prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A value that a flag does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum FlagError {
    #[error("give 10s to 3650d, such as 90d or 12h")]
    Lifetime,
    #[error("give whole seconds, at most 86400")]
    Seconds,
    #[error("give lower-case letters, digits and `-`, or `*` and `?`")]
    Namespaces,
    #[error(
        "give the host of a private ECR registry, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    )]
    Registry,
}

/// Ten years at most: later dates overflow in some verifiers.
fn lifetime(text: &str) -> Result<Duration, FlagError> {
    let (least, most) = (
        Duration::from_secs(10),
        Duration::from_secs(3650 * 24 * 60 * 60),
    );
    duration::parse(text)
        .filter(|lifetime| (least..=most).contains(lifetime))
        .ok_or(FlagError::Lifetime)
}

/// A day at most: no setting of these makes sense beyond it.
fn seconds(text: &str) -> Result<Duration, FlagError> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| *seconds <= 24 * 60 * 60)
        .map(Duration::from_secs)
        .ok_or(FlagError::Seconds)
}

/// A pattern that some namespace can match.
fn glob(text: &str) -> Result<Glob, FlagError> {
    let is_allowed = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-*?".contains(letter)
    };
    let is_pattern = !text.is_empty() && text.chars().all(is_allowed);
    is_pattern
        .then(|| Glob::new(text))
        .ok_or(FlagError::Namespaces)
}

fn registry(text: &str) -> Result<Registry, FlagError> {
    Registry::of_host(text)
        .filter(|registry| !registry.is_public())
        .ok_or(FlagError::Registry)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn certificate_lifetime_has_bounds() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 24 * 60 * 60)));
        assert_eq!(lifetime("10s"), Ok(Duration::from_secs(10)));
        for text in ["9s", "3651d", "90", "-1d", "", "1.5s"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_whole_and_bounded() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("86400"), Ok(Duration::from_secs(86_400)));
        for text in ["86401", "99999999999999999", "-1", "1s", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        let mut command = Cli::command();
        command.build();
        let verbs = command.get_subcommands();
        let flags = verbs.flat_map(clap::Command::get_arguments);
        for argument in flags {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            if ["help", "version", "print-config"].contains(&flag) {
                continue;
            }
            let wanted = format!("ECR_PULL_SECRETS_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(
                argument.get_env().and_then(|name| name.to_str()),
                Some(wanted.as_str()),
                "--{flag}"
            );
        }
    }
}
