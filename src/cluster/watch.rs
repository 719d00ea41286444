//! A watch that never ends: list, watch, and list again, with pauses while the API server is away.

use std::pin::pin;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tracing::warn;

use crate::telemetry::chain::chain;

/// Tells when a first complete list is there.
#[derive(Clone, Debug)]
pub(crate) struct Synced(watch::Receiver<bool>);

impl Synced {
    /// Whether it is there by now.
    pub(crate) fn is_synced(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it. Returns at once when it is there, and when nobody will ever bring it.
    pub(crate) async fn synced(&mut self) {
        let _ = self.0.wait_for(|synced| *synced).await;
    }
}

/// The other end of [`Synced`].
#[derive(Clone, Debug)]
pub(crate) struct Announce(watch::Sender<bool>);

impl Announce {
    /// There is nothing to wait for any more.
    pub(crate) fn announce(&self) {
        self.0.send_replace(true);
    }
}

/// Makes both ends.
pub(crate) fn announcement() -> (Announce, Synced) {
    let (sender, receiver) = watch::channel(false);
    (Announce(sender), Synced(receiver))
}

/// Feeds every event of a watch to `handle`, for ever. `what` is the plural of the kind.
pub(crate) async fn follow<K>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    announce: Announce,
    mut handle: impl FnMut(Event<K>),
) {
    let mut events = pin!(events.default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let done = matches!(event, Event::InitDone);
                handle(event);
                if done {
                    announce.announce();
                }
            }
            Err(error) => warn!(what, error = chain(&error), "the watch was interrupted"),
        }
    }
}
