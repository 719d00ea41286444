//! Watches that never end: list, watch, and list again, with pauses while the API server is away.

use std::fmt::Debug;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::jittered;
use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watch_object};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use super::refusal::Refusal;
use crate::telemetry::chain::chain;

/// The longest pause before the watch of one object starts again.
const RETRY_PAUSE: Duration = Duration::from_millis(1600);

/// Says when the first complete list has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Synced(watch::Receiver<bool>);

impl Synced {
    pub(crate) fn is_synced(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the list. Returns at once when it has arrived, and when its watch has ended.
    pub(crate) async fn synced(&mut self) {
        let _ = self.0.wait_for(|synced| *synced).await;
    }
}

/// The other end of [`Synced`].
#[derive(Clone, Debug)]
pub(crate) struct Announce(watch::Sender<bool>);

impl Announce {
    /// The first list has arrived, or no wait for it helps.
    pub(crate) fn announce(&self) {
        self.0.send_replace(true);
    }
}

/// Makes both ends.
pub(crate) fn announcement() -> (Announce, Synced) {
    let (sender, receiver) = watch::channel(false);
    (Announce(sender), Synced(receiver))
}

/// Feeds every event of a watch to `handle`, until dropped. `what` is the plural of the kind.
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
            Err(error) => interrupted(what, &error),
        }
    }
}

/// Feeds every state of one object to `handle`, until dropped; `None` while there is no such object.
///
/// An API server that refuses the first list has given its first answer: the process then works
/// without the object, instead of never. The name goes into a field selector, by which RBAC allows
/// the watch of one name.
pub(crate) async fn follow_object<K>(
    what: &'static str,
    api: Api<K>,
    name: &str,
    announce: Announce,
    mut handle: impl FnMut(Option<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let refused = announce.clone();
    let mut states = pin!(states(what, api, name, move || refused.announce()));
    while let Some(state) = states.next().await {
        handle(state);
        announce.announce();
    }
}

/// Every state of one object, as in [`follow_object`], for a loop that waits for other things too.
pub(crate) fn object_states<K>(
    what: &'static str,
    api: Api<K>,
    name: &str,
) -> impl Stream<Item = Option<K>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    states(what, api, name, || ())
}

/// The same pause after each failure. A pause that doubles would never start again: the stream of one
/// object has no event that says that a list succeeded, as the stream of a collection has.
struct SteadyBackoff;

impl Iterator for SteadyBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(jittered(RETRY_PAUSE, fastrand::f64()))
    }
}

impl Backoff for SteadyBackoff {
    fn reset(&mut self) {}
}

fn states<K, R>(
    what: &'static str,
    api: Api<K>,
    name: &str,
    mut refused: R,
) -> impl Stream<Item = Option<K>> + Send + use<K, R>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    R: FnMut() + Send,
{
    let answers = watch_object(api, name).backoff(SteadyBackoff);
    answers.filter_map(move |answer| {
        if let Err(error) = &answer {
            if is_refused(error) {
                refused();
            }
            interrupted(what, error);
        }
        ready(answer.ok())
    })
}

/// Logs that a watch starts again.
pub(crate) fn interrupted(what: &'static str, error: &watcher::Error) {
    warn!(what, error = chain(error), "the watch was interrupted");
}

/// Whether the API server answered, and the same answer will come again: as without the Role.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) => !Refusal::of(error).is_transient(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn pauses_of_one_object_never_grow() {
        for pause in SteadyBackoff.take(100) {
            assert!(
                (RETRY_PAUSE / 2..=RETRY_PAUSE).contains(&pause),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn only_lasting_refusal_of_first_list_is_answer() {
        let api = |code| kube::Error::Api(Status::failure("no", "").with_code(code).boxed());
        for (code, refused) in [
            (401, true),
            (403, true),
            (404, true),
            (429, false),
            (503, false),
        ] {
            let error = watcher::Error::InitialListFailed(api(code));
            assert_eq!(is_refused(&error), refused, "{code}");
        }
        assert!(!is_refused(&watcher::Error::WatchStartFailed(api(403))));
        let dead = kube::Error::Service("connection reset".into());
        assert!(!is_refused(&watcher::Error::InitialListFailed(dead)));
    }
}
