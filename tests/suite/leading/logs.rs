//! What must never be in a log, also of processes that were killed or frozen.

use std::sync::Arc;

use crate::frame::trials;
use crate::harness::{Outcome, World};
use crate::logs::search;

trials!(no_log_holds_a_token_or_key);

async fn no_log_holds_a_token_or_key(world: Arc<World>) -> Outcome {
    search(&world).await
}
