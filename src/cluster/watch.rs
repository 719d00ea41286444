//! Watches that never end: list, watch, and list again, with pauses while the API server is away.
//!
//! The API server streams the list of a [`collection`] object by object, so neither side holds the
//! list. An API server that does not stream lists (Kubernetes 1.30, 1.31 and 1.33) sends pages.

use std::fmt::Debug;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::jittered;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watch_object, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::refusal::Refusal;
use crate::telemetry::chain::chain;

/// Objects in a page of a list that is not streamed.
pub(crate) const PAGE_SIZE: u32 = 100;
/// The longest wait for the next object of a streamed list. After it the list comes in pages.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
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

/// Every event of a collection: a list, which the API server streams if it can, and then a watch.
pub(crate) fn collection<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let paged = config.clone().page_size(PAGE_SIZE);
    let streamed = watcher(api.clone(), config.streaming_lists()).boxed();
    falling_back(streamed, STREAM_TIMEOUT, move || {
        watcher(api, paged).boxed()
    })
}

/// Reads `streamed` until it turns out that the API server does not stream lists, and then `paged`.
/// `limit` is the longest wait for the next object of a list.
fn falling_back<K: Send + 'static>(
    streamed: BoxStream<'static, watcher::Result<Event<K>>>,
    limit: Duration,
    paged: impl FnOnce() -> BoxStream<'static, watcher::Result<Event<K>>> + Send,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    let start = (streamed, Some(paged), true);
    unfold(
        start,
        move |(mut events, mut paged, mut is_listing)| async move {
            let event = loop {
                let Some(fall_back) = paged.take_if(|_| is_listing) else {
                    break events.next().await?;
                };
                match timeout(limit, events.next()).await {
                    Ok(Some(Err(watcher::Error::WatchStartFailed(error))))
                        if is_unknown(&error) =>
                    {
                        debug!("the API server does not stream lists");
                    }
                    Ok(event) => {
                        paged = Some(fall_back);
                        break event?;
                    }
                    Err(_) => debug!("the API server does not finish a streamed list"),
                }
                events = fall_back();
            };
            match event {
                Ok(Event::Init) => is_listing = true,
                Ok(Event::InitDone) => is_listing = false,
                _ => {}
            }
            Some((event, (events, paged, is_listing)))
        },
    )
}

/// Whether the API server refuses `sendInitialEvents`.
pub(super) fn is_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 422))
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

/// Whether the API server answered, and the same answer will come again: as without the Role. A text
/// that is not JSON, such as the page of a proxy, is not from the API server.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::FromUtf8(_)) => false,
        watcher::Error::InitialListFailed(kube::Error::SerdeError(error)) => error.is_data(),
        watcher::Error::InitialListFailed(error) => !Refusal::of(error).is_transient(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{empty, iter, pending};
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> watcher::Result<Event<u8>> {
        let status = Status::failure("no", "").with_code(code).boxed();
        Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
    }

    /// What is read of a streamed list; the pages bring one object, the 7.
    async fn read(
        streamed: Vec<watcher::Result<Event<u8>>>,
        then: BoxStream<'static, watcher::Result<Event<u8>>>,
    ) -> Vec<String> {
        let streamed = iter(streamed).chain(then).boxed();
        let paged = || {
            let events = [Event::Init, Event::InitApply(7), Event::InitDone];
            iter(events.map(Ok)).boxed()
        };
        let events = falling_back(streamed, Duration::ZERO, paged).map(|event| match event {
            Ok(event) => format!("{event:?}"),
            Err(error) => error.to_string(),
        });
        events.collect().await
    }

    #[tokio::test]
    async fn refused_stream_of_a_list_falls_back_to_pages() {
        let paged = ["Init", "InitApply(7)", "InitDone"];
        for code in [400, 422] {
            let events = read(vec![refused(code)], empty().boxed()).await;
            assert_eq!(events, paged, "{code}");
        }
        for code in [401, 403, 429, 500] {
            let events = read(vec![refused(code)], empty().boxed()).await;
            assert_eq!(events.len(), 1, "{code}");
        }
    }

    #[tokio::test]
    async fn streamed_list_without_an_end_falls_back_to_pages() {
        let begun = || vec![Ok(Event::Init), Ok(Event::InitApply(1))];
        let events = read(begun(), pending().boxed()).await;
        assert_eq!(
            events,
            ["Init", "InitApply(1)", "Init", "InitApply(7)", "InitDone"]
        );
    }

    #[tokio::test]
    async fn complete_streamed_list_needs_no_pages() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitDone),
            Ok(Event::Apply(1)),
            refused(422),
        ];
        let quiet = unfold(0, |count| async move {
            tokio::task::yield_now().await;
            (count < 2).then_some((Ok(Event::Apply(count)), count + 1))
        });
        let events = read(events, quiet.boxed()).await;
        assert_eq!(events.len(), 6, "{events:?}");
        assert!(
            events.iter().all(|event| !event.contains('7')),
            "{events:?}"
        );
    }

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
        for (text, refused) in [
            ("<html>starting</html>", false),
            ("", false),
            (r#"{"metadata":"#, false),
            (r#"{"code":"x"}"#, true),
        ] {
            let error = kube::Error::SerdeError(serde_json::from_str::<Status>(text).unwrap_err());
            let error = watcher::Error::InitialListFailed(error);
            assert_eq!(is_refused(&error), refused, "{text}");
        }
    }
}
