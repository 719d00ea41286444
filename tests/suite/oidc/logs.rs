//! What must never be in a log: the tokens of our ServiceAccount, too.

use std::sync::Arc;

use super::site::Site;
use crate::frame::trials;
use crate::harness::Outcome;
use crate::logs::search;

trials!(no_log_holds_a_token_or_key);

async fn no_log_holds_a_token_or_key(site: Arc<Site>) -> Outcome {
    search(&site).await
}
