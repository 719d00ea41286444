//! `serve`: the admission endpoint and everything behind it.

use std::io::Write as _;

use crate::cli::{Cluster, Global, Serve};
use crate::cluster::client::clients;
use crate::config::{ConfigFile, report_doubts};
use crate::engine::{Blueprint, Engine};
use crate::exit::Failure;
use crate::run::{self, ConfigSource, Ports, Stop};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// Serves until SIGTERM, or prints the configuration.
///
/// # Errors
///
/// [`Failure`] when the process cannot start, or when a part of it ended.
pub(super) async fn serve(global: &Global, serve: Serve) -> Result<(), Failure> {
    let Serve {
        cluster:
            Cluster {
                kubeconfig,
                context,
                namespace,
            },
        https_listen,
        http_listen,
        certificate_dir,
        certificate_lifetime,
        aws,
        drain_delay,
        connection_age,
        guard_rest,
        print_config,
    } = serve;
    let file = ConfigFile::load(&global.config);
    if print_config {
        let yaml = file?.config.to_yaml();
        let yaml = yaml.map_err(|error| Failure::Print(error.into()))?;
        let written = std::io::stdout().write_all(yaml.as_bytes());
        return written.map_err(|error| Failure::Print(error.into()));
    }
    logs::init(global.log_format, global.log_level)?;
    // Before any call: the first process of a container ignores a signal that it does not handle.
    let mut stop = Stop::new()?;
    let connect = |names| clients(kubeconfig.as_deref(), context.as_deref(), names);
    let (config, taken) = match file {
        Ok(ConfigFile { text, config }) => (config, Some(text)),
        Err(invalid) => {
            let Ok(clients) = connect(&[]).await else {
                return Err(invalid.into());
            };
            tokio::select! {
                kept = run::last_good(&clients, &namespace) => (kept.ok_or(invalid)?, None),
                () = stop.requested() => return Ok(()),
            }
        }
    };
    report_doubts(&config);
    let pull_secrets = [config.secret.name.clone()];
    let (engine, event_writer) = Engine::build(Blueprint {
        config,
        clients: connect(&pull_secrets).await?,
        namespace: &namespace,
        aws_credentials_dir: &aws.aws_credentials_dir,
        metrics: Metrics::default(),
    });
    let source = ConfigSource {
        path: global.config.clone(),
        taken,
    };
    let ports = Ports {
        https: https_listen,
        http: http_listen,
        certificate_dir,
        certificate_lifetime,
        connection_age,
        drain_delay,
    };
    run::serve(engine, event_writer, ports, source, guard_rest, stop).await
}
