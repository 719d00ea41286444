//! Keeps the configuration in force in the token store, for a replica that starts with an invalid file.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::term::Term;
use crate::token::kept_config::{self, ConfigKept};

/// The interval between two checks: another client may have deleted the store.
const CHECK_INTERVAL: Duration = Duration::from_secs(600);
/// The pauses after a check that failed.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Runs until it is dropped; a new configuration begins with a new term.
pub(super) async fn run(term: Arc<Term>) {
    let engine = &term.engine;
    let mut pause = Duration::ZERO;
    let mut is_told = false;
    loop {
        match kept_config::keep(&engine.store, &engine.live.snapshot()).await {
            Ok(kept) => {
                pause = Duration::ZERO;
                match kept {
                    ConfigKept::Written => info!("kept the configuration for later starts"),
                    ConfigKept::Before => {}
                    ConfigKept::TooLong if is_told => {}
                    ConfigKept::TooLong => {
                        is_told = true;
                        warn!(
                            "the configuration is longer than 512 KiB: a replica that starts with an \
                             invalid file has no last good one"
                        );
                    }
                }
            }
            Err(refusal) if refusal.is_conflict() => {
                debug!("the token store changed while the configuration was kept");
                pause = PAUSES.after(pause);
            }
            Err(refusal) => {
                let (cause, detail) = refusal.into_parts();
                warn!(
                    cause = cause.name(),
                    detail, "cannot keep the configuration for later starts"
                );
                pause = PAUSES.after(pause);
            }
        }
        sleep(if pause.is_zero() {
            CHECK_INTERVAL
        } else {
            pause
        })
        .await;
    }
}
