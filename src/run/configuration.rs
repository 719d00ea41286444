//! The configuration file: what a process starts with, and what it does when the file changes.
//!
//! A file that cannot be used changes nothing: the configuration in force stays, or at a start the
//! last good one that the replicas keep. Log, metric and an Event on this replica's pod say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Config;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Api;
use tokio::time::{Instant, interval, sleep};
use tracing::{error, info, warn};

use crate::cluster::call::call;
use crate::cluster::client::Clients;
use crate::config::{FileText, report_doubts};
use crate::engine::Engine;
use crate::token::kept_config;
use crate::token::store::Store;

/// The interval between two reads of the file.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a start with an invalid file waits for an API server that does not answer.
const KEPT_WAIT: Duration = Duration::from_secs(30);
const KEPT_RETRY: Duration = Duration::from_secs(1);

/// The last good configuration, as the replicas keep it; `None` where there is none, or where the
/// API server does not tell.
pub(crate) async fn last_good(clients: &Clients, namespace: &str) -> Option<Config> {
    let store = Store::new(clients, namespace);
    let begin = Instant::now();
    loop {
        match kept_config::read(&store).await {
            Err(refusal) if refusal.is_transient() && begin.elapsed() < KEPT_WAIT => {
                sleep(KEPT_RETRY).await;
            }
            Err(refusal) => {
                let (cause, detail) = refusal.into_parts();
                let cause = cause.name();
                warn!(cause, detail, "cannot read the last good configuration");
                return None;
            }
            Ok(kept) => return kept,
        }
    }
}

/// The configuration file that an engine was built with.
pub(crate) struct ConfigSource {
    pub(crate) path: PathBuf,
    /// Its content; none if the engine was built with the last good configuration.
    pub(crate) taken: Option<FileText>,
}

/// The configuration file of a process that runs.
pub(super) struct Follower {
    path: PathBuf,
    engine: Arc<Engine>,
    /// The last content that was taken over; none after a start without the file.
    taken: Option<FileText>,
    /// What was last reported as wrong.
    refused: Option<RefusedFile>,
}

#[derive(PartialEq, Eq)]
enum RefusedFile {
    /// It cannot be read, for this reason.
    Unread(String),
    /// This content cannot be used.
    Invalid(FileText),
}

impl Follower {
    pub(super) fn new(source: ConfigSource, engine: Arc<Engine>) -> Self {
        Self {
            path: source.path,
            engine,
            taken: source.taken,
            refused: None,
        }
    }

    /// Takes over each new content. Never returns.
    pub(super) async fn run(mut self) {
        let is_current = i64::from(self.taken.is_some());
        self.engine.metrics.config_is_current.set(is_current);
        let mut tick = interval(POLL_INTERVAL);
        loop {
            tick.tick().await;
            self.poll().await;
        }
    }

    async fn poll(&mut self) {
        let text = match FileText::read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                let reason = error.to_string();
                return self
                    .refuse(RefusedFile::Unread(reason.clone()), &reason)
                    .await;
            }
        };
        if self.taken.as_ref() == Some(&text) {
            if self.refused.take().is_some() {
                info!("the configuration file is the one in force again");
                self.engine.metrics.config_reloaded("ok");
            }
            return;
        }
        if text == FileText::Absent {
            // A file that was there and is gone is no wish for the defaults.
            let reason = format!("{} is gone", self.path.display());
            return self
                .refuse(RefusedFile::Unread(reason.clone()), &reason)
                .await;
        }
        match text.parse(&self.path) {
            Ok(config) => self.take(config, text),
            Err(error) => {
                let reason = error.to_string();
                self.refuse(RefusedFile::Invalid(text), &reason).await;
            }
        }
    }

    /// Puts a configuration into force.
    fn take(&mut self, config: Config, text: FileText) {
        report_doubts(&config);
        let (next, waiting) = self.engine.live.successor(config);
        for field in waiting {
            warn!(
                field,
                "a field of the configuration changes with the next restart of the replicas"
            );
        }
        if let Some(ended) = self.engine.ended_by(&next).filter(|ended| *ended > 0) {
            warn!(
                pull_secrets = ended,
                "the new configuration ends the renewal of pull secrets"
            );
        }
        self.engine.live.replace(next);
        self.engine.metrics.config_reloaded("ok");
        info!("the configuration changed");
        self.taken = Some(text);
        self.refused = None;
    }

    /// Reports content that cannot be used, once.
    async fn refuse(&mut self, file: RefusedFile, error: &str) {
        if self.refused.as_ref() == Some(&file) {
            return;
        }
        self.refused = Some(file);
        self.engine.metrics.config_reloaded("error");
        let cause = Cause::ConfigurationInvalid;
        let remedy = cause.remedy();
        error!(
            cause = cause.name(),
            error, remedy, "the configuration file is invalid"
        );
        let about = this_pod(&self.engine).await;
        self.engine.events.report_detail(&about, cause, error).await;
    }
}

/// The pod of this process; `kubectl describe` finds Events by the uid.
async fn this_pod(engine: &Engine) -> ObjectReference {
    let pods: Api<Pod> = Api::namespaced(engine.clients.call.clone(), &engine.namespace);
    let pod = call(|| pods.get_metadata_opt(&engine.instance)).await;
    let uid = pod.ok().flatten().and_then(|pod| pod.metadata.uid);
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(engine.namespace.clone()),
        name: Some(engine.instance.clone()),
        uid,
        ..ObjectReference::default()
    }
}
