//! Two clients for one API server: one for watches and lists of pods, one for all other calls. Both
//! [sift](super::sift) what they read.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::call::CALL_TIMEOUT;
use super::connect::{ConnectionLimits, WATCH_READ_TIMEOUT, client};
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
    #[error(
        "cannot reach the API server through the proxy {0}: its connections take none; remove \
         `proxy-url` from the kubeconfig, or unset HTTPS_PROXY, and name the proxy for AWS in ALL_PROXY"
    )]
    Proxy(String),
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
    if let Some(proxy) = &config.proxy_url {
        return Err(ConnectError::Proxy(place(proxy)));
    }
    let sifting = Sifting::new(Views::new(pull_secrets));
    let client = |seconds, read| {
        let connect = Duration::from_secs(seconds);
        client(&config, &ConnectionLimits { connect, read }, &sifting)
    };
    Ok(Clients {
        watch: client(5, WATCH_READ_TIMEOUT)?,
        call: client(2, CALL_TIMEOUT)?,
        look_ups: LookUps::default(),
    })
}

/// Scheme, host and port of a proxy: the rest may be a password.
fn place(proxy: &Uri) -> String {
    let (scheme, host) = (proxy.scheme_str(), proxy.host());
    let port = proxy.port().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}",
        scheme.unwrap_or("http"),
        host.unwrap_or_default(),
        port.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn proxy_is_refused_by_its_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(
            b"{apiVersion: v1, kind: Config, current-context: c, users: [{name: u, user: {}}],
               contexts: [{name: c, context: {cluster: k, user: u}}],
               clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1',
                 proxy-url: 'http://robot:hunter2@proxy.example.com:3128'}}]}",
        )
        .unwrap();
        let error = clients(Some(file.path()), None, &[]).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("http://proxy.example.com:3128"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
