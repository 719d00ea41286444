//! `sync`: makes the pull Secrets of all namespaces right, once, and says what it did.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use ecr_pull_secrets_core::sync::SyncVerdict;

use crate::cli::{Cluster, Global, Output, SyncFlags};
use crate::cluster::client::clients;
use crate::config::ConfigFile;
use crate::engine::{Blueprint, Engine};
use crate::exit::Failure;
use crate::sync::{SyncScope, run};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// Runs once, and prints the result.
///
/// # Errors
///
/// [`Failure`] when a Secret is not as wanted, or when the run could not begin.
pub(super) async fn sync(global: &Global, sync: SyncFlags) -> Result<(), Failure> {
    let Cluster {
        kubeconfig,
        context,
        namespace,
    } = sync.cluster;
    let config = ConfigFile::load(&global.config)?.config;
    logs::init_beside_output(global.log_format, global.log_level)?;
    let pull_secrets = [config.secret.name.clone()];
    let (engine, _) = Engine::build(Blueprint {
        config,
        clients: clients(kubeconfig.as_deref(), context.as_deref(), &pull_secrets).await?,
        namespace: &namespace,
        aws_credentials_dir: &sync.aws.aws_credentials_dir,
        metrics: Metrics::default(),
    });
    let scope = SyncScope {
        namespaces: sync.namespaces,
        selector: sync.selector,
        registries: sync.registries,
        renews: sync.renew,
    };
    let shows_progress = stderr().is_terminal() && sync.output == Output::Table;
    let report = run(&engine, &scope, |done, all| {
        if shows_progress {
            eprint!("\r{done} of {all} namespaces");
        }
    });
    let report = report.await.map_err(Failure::Cluster)?;
    if shows_progress {
        eprintln!();
    }
    let text = match sync.output {
        Output::Table => report.table(),
        Output::Json => format!("{:#}\n", report.json()),
    };
    let written = stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::Print(error.into()))?;
    match report.verdict() {
        SyncVerdict::Done => Ok(()),
        SyncVerdict::Failed => Err(Failure::Unfinished),
        SyncVerdict::Unreachable => Err(Failure::Unreachable),
    }
}
