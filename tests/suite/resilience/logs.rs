//! What must never be in a log, also of processes that were killed or frozen.

use std::sync::Arc;

use super::fleet::Fleet;
use crate::frame::trials;
use crate::harness::Outcome;
use crate::logs::search;

trials!(no_log_holds_a_token_or_key);

async fn no_log_holds_a_token_or_key(fleet: Arc<Fleet>) -> Outcome {
    search(&fleet).await
}
