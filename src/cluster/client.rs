//! Two clients for one API server: one for watches and lists of pods, one for all other calls. Both
//! [sift](super::sift) what they read.

use std::path::Path;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::call::CALL_TIMEOUT;
use super::look_ups::LookUps;
use super::sift::Sifting;
use super::views::Views;
use crate::telemetry::chain::chain;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot use the kubeconfig {path}: {}", chain(.source))]
    Kubeconfig {
        path: String,
        source: kube::config::KubeconfigError,
    },
    #[error("found neither a kubeconfig nor a ServiceAccount; give --kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    #[error("cannot build a client")]
    Client(#[from] kube::Error),
}

/// The two clients.
#[derive(Clone)]
pub(crate) struct Clients {
    /// For watches and lists of pods: an answer may take minutes.
    pub(crate) watch: Client,
    /// For single calls, without retries of its own: see [`call`](super::call::call).
    pub(crate) call: Client,
    /// The limit of the reads that reviews cause.
    pub(crate) look_ups: LookUps,
}

/// Reads the kubeconfig, or the ServiceAccount of the pod, and builds the clients. Calls no API.
/// `pull_secrets` are the names of all pull Secrets.
///
/// # Errors
///
/// [`ConnectError`] says which part is missing.
pub(crate) async fn clients(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    pull_secrets: &[String],
) -> Result<Clients, ConnectError> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let unusable = |source| ConnectError::Kubeconfig {
        path: kubeconfig.map_or_else(String::new, |path| path.display().to_string()),
        source,
    };
    let config = match (kubeconfig, context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.map_err(unusable)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(unusable)?,
        (None, None) => Config::infer().await?,
    };
    // kube retries 429, 503 and 504 fifteen times by default: an admission cannot wait for that,
    // and watches have pauses of their own.
    let sifting = Sifting::new(Views::new(pull_secrets));
    let client = |connect: Duration, read: Duration| {
        let mut config = config.clone();
        config.connect_timeout = Some(connect);
        config.read_timeout = Some(read);
        config.default_retry = false;
        ClientBuilder::try_from(config).map(|builder| builder.with_layer(&sifting).build())
    };
    Ok(Clients {
        // The API server ends a watch within 295 s, and sends bookmarks about once a minute.
        watch: client(Duration::from_secs(5), Duration::from_secs(330))?,
        call: client(Duration::from_secs(2), CALL_TIMEOUT)?,
        look_ups: LookUps::default(),
    })
}
