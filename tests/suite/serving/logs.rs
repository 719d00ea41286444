//! What must never be in a log: tokens, and keys of CAs and leaves.

use std::sync::Arc;

use super::site::Site;
use crate::frame::trials;
use crate::harness::Outcome;
use crate::logs::{Parts, search};

trials!(no_log_holds_a_token_or_key);

async fn no_log_holds_a_token_or_key(site: Arc<Site>) -> Outcome {
    let (logs, keys) = (site.logs(), site.keys());
    assert!(!keys.is_empty());
    for (name, text) in &logs {
        assert!(!text.contains("PRIVATE KEY"), "{name}");
    }
    let lines = keys.iter().flat_map(|key| key.lines());
    Parts::of(lines.filter(|line| !line.contains("PRIVATE KEY"))).assert_absent(&logs);
    search(&site).await
}
