//! A list that is read in batches, so that one batch of sifted objects at a time is in memory.
//!
//! Most lists come in pages. A page that does not arrive in time is asked for again with fewer
//! objects: they may be large. Where the reader takes longer than the API server keeps a consistent list
//! (some five minutes), the list goes on with what exists then: an object that came or went meanwhile
//! may be left out, and one that changed may be as it is now. A long list is streamed by an API server that can. A stream that does
//! not reach its end is followed by the whole list in pages, so some objects come twice.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::debug;

use super::call::{call_once, call_within};
use super::refusal::Refusal;
use super::views::LIST_END;
use super::watch::is_unknown;

/// The deadline of one page.
pub(super) const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in a batch of a streamed list.
const BATCH: usize = 100;
/// The time limit of a streamed list in seconds.
const STREAM_SECONDS: u32 = 1800;
/// A page that did not arrive in time is divided by this.
const DIVISOR: u32 = 4;

/// A list that is being read.
pub(crate) struct Pages<K> {
    api: Api<K>,
    source: Source<K>,
    /// The deadline of one page, and of the next object of a stream.
    limit: Duration,
}

enum Source<K> {
    /// Not asked yet: a stream, or else pages.
    Unknown(ListParams),
    /// And the request of the list in pages.
    Stream(BoxStream<'static, kube::Result<WatchEvent<K>>>, ListParams),
    /// The request of the next page.
    Page(ListParams),
    Over,
}

impl<K: Clone + DeserializeOwned + Debug + Send + 'static> Pages<K> {
    /// A list in pages.
    pub(crate) fn new(api: Api<K>, params: ListParams, limit: Duration) -> Self {
        let source = Source::Page(params);
        Self { api, source, limit }
    }

    /// A list that is streamed if the API server can. It may be as old as the cache of the API server.
    pub(crate) fn streamed(api: Api<K>, params: ListParams, limit: Duration) -> Self {
        let source = Source::Unknown(params);
        Self { api, source, limit }
    }

    /// The next batch, if there is one.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server. The list is over then.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<K>>, Refusal> {
        loop {
            match std::mem::replace(&mut self.source, Source::Over) {
                Source::Unknown(params) => {
                    self.source = Self::open(self.api.clone(), params, self.limit).await?;
                }
                Source::Stream(mut stream, params) => {
                    match Self::batch(&mut stream, self.limit).await {
                        Ok(batch) if batch.len() == BATCH => {
                            self.source = Source::Stream(stream, params);
                            return Ok(Some(batch));
                        }
                        Ok(batch) => return Ok((!batch.is_empty()).then_some(batch)),
                        Err(refusal) if refusal.is_transient() => {
                            debug!(%refusal, "a streamed list broke off: it comes in pages");
                            self.source = Source::Page(params);
                        }
                        Err(refusal) => return Err(refusal),
                    }
                }
                Source::Page(params) => return self.page(params).await.map(Some),
                Source::Over => return Ok(None),
            }
        }
    }

    /// Asks for a stream.
    async fn open(api: Api<K>, params: ListParams, limit: Duration) -> Result<Source<K>, Refusal> {
        let wanted = WatchParams {
            label_selector: params.label_selector.clone(),
            field_selector: params.field_selector.clone(),
            timeout: Some(STREAM_SECONDS),
            bookmarks: true,
            send_initial_events: true,
        };
        let request = async {
            match api.watch(&wanted, "0").await {
                Ok(stream) => Ok(Some(stream.boxed())),
                Err(error) if is_unknown(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(match call_once(limit, request).await {
            Ok(Some(stream)) => Source::Stream(stream, params),
            Ok(None) => Source::Page(params),
            Err(refusal) if refusal.is_transient() => Source::Page(params),
            Err(refusal) => return Err(refusal),
        })
    }

    /// The next batch of a stream. One that is not full is the last.
    async fn batch(
        stream: &mut BoxStream<'static, kube::Result<WatchEvent<K>>>,
        limit: Duration,
    ) -> Result<Vec<K>, Refusal> {
        let mut batch = Vec::new();
        loop {
            let Ok(event) = timeout(limit, stream.next()).await else {
                return Err(Refusal::no_answer(limit));
            };
            match event.transpose().map_err(|error| Refusal::of(&error))? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    batch.push(object);
                    if batch.len() == BATCH {
                        return Ok(batch);
                    }
                }
                Some(WatchEvent::Bookmark(mark))
                    if mark.metadata.annotations.contains_key(LIST_END) =>
                {
                    return Ok(batch);
                }
                Some(WatchEvent::Bookmark(_) | WatchEvent::Deleted(_)) => {}
                Some(WatchEvent::Error(status)) => {
                    return Err(Refusal::of(&kube::Error::Api(status)));
                }
                None => return Err(Refusal::broken_off()),
            }
        }
    }

    async fn page(&mut self, mut params: ListParams) -> Result<Vec<K>, Refusal> {
        let page = loop {
            let request = || async {
                match self.api.list(&params).await {
                    Ok(page) => Ok(Ok(page)),
                    Err(error) => token_to_resume(&error, &params).map(Err).ok_or(error),
                }
            };
            match (call_within(self.limit, request).await, params.limit) {
                (Ok(Ok(page)), _) => break page,
                (Ok(Err(token)), _) => {
                    debug!("a list outlived its token: it goes on with what exists now");
                    params.continue_token = Some(token);
                }
                (Err(refusal), Some(limit)) if limit > 1 && refusal.is_transient() => {
                    params.limit = Some((limit / DIVISOR).max(1));
                }
                (Err(refusal), _) => return Err(refusal),
            }
        };
        let more = page.metadata.continue_.filter(|token| !token.is_empty());
        if let Some(token) = more {
            self.source = Source::Page(params.continue_token(&token));
        }
        Ok(page.items)
    }
}

/// The token that an API server gives in place of an expired one: for the rest of the list as it is
/// now. `None` if it gives the same one again.
fn token_to_resume(error: &kube::Error, params: &ListParams) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let metadata = status.metadata.as_ref().filter(|_| status.code == 410)?;
    let token = metadata.continue_.clone()?;
    (!token.is_empty() && Some(&token) != params.continue_token.as_ref()).then_some(token)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Client;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A client whose answers are these, in order, and the queries that it was asked.
    fn client(answers: Vec<(u16, String)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let queries = Arc::new(Mutex::new(Vec::new()));
        let (asked, answers) = (queries.clone(), Mutex::new(answers.into_iter()));
        let service = service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            asked.lock().push(query);
            let (status, body) = answers.lock().next().expect("another answer");
            let answer = Response::builder().status(status);
            let answer = answer.body(Full::new(Bytes::from(body)));
            async move { Ok::<_, Infallible>(answer.expect("an answer")) }
        });
        (Client::new(service, "default"), queries)
    }

    fn page(names: &[&str], token: &str) -> (u16, String) {
        let items = names
            .iter()
            .map(|name| json!({ "metadata": { "name": name } }));
        let page = json!({ "kind": "ConfigMapList", "apiVersion": "v1",
            "metadata": { "resourceVersion": "1", "continue": token }, "items": items.collect::<Value>() });
        (200, page.to_string())
    }

    fn refusal(code: u16) -> (u16, String) {
        let status = json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "", "code": code });
        (code, status.to_string())
    }

    fn events(names: &[&str], ends: bool) -> (u16, String) {
        let added =
            |name: &&str| json!({ "type": "ADDED", "object": { "metadata": { "name": name } } });
        let mut lines: Vec<Value> = names.iter().map(added).collect();
        if ends {
            lines.push(
                json!({ "type": "BOOKMARK", "object": { "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": { "resourceVersion": "2", "annotations": { LIST_END: "true" } } } }),
            );
        }
        let lines = lines.into_iter().map(|line| format!("{line}\n"));
        (200, lines.collect())
    }

    /// The sizes of all batches, or the last refusal.
    async fn read(mut pages: Pages<ConfigMap>) -> Result<Vec<usize>, Refusal> {
        let mut sizes = Vec::new();
        while let Some(batch) = pages.next().await? {
            sizes.push(batch.len());
        }
        Ok(sizes)
    }

    fn params() -> ListParams {
        ListParams::default().limit(100)
    }

    #[tokio::test]
    async fn streamed_list_comes_in_batches() {
        let names = vec!["a"; 250];
        let (client, queries) = client(vec![events(&names, true)]);
        let pages = Pages::streamed(Api::all(client), params(), LIMIT);
        assert_eq!(read(pages).await, Ok(vec![100, 100, 50]));
        let queries = queries.lock();
        assert_eq!(queries.len(), 1);
        assert!(queries[0].contains("sendInitialEvents=true"), "{queries:?}");
    }

    #[tokio::test]
    async fn stream_without_an_end_is_followed_by_pages() {
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":504}}"#;
        let broken = (200, format!("{}{error}\n", events(&["a"], false).1));
        for stream in [events(&["a"; 120], false), broken, refusal(503)] {
            let size = stream.1.len();
            let (client, queries) = client(vec![stream, page(&["a", "b"], "")]);
            let pages = Pages::streamed(Api::all(client), params(), LIMIT);
            let sizes = read(pages).await.expect("a list");
            assert_eq!(sizes.last(), Some(&2), "{size}");
            assert_eq!(queries.lock().len(), 2);
        }
    }

    #[tokio::test]
    async fn refused_stream_falls_back_to_pages() {
        let answers = vec![refusal(422), page(&["a", "b"], "more"), page(&["c"], "")];
        let (client, queries) = client(answers);
        let pages = Pages::streamed(Api::all(client), params(), LIMIT);
        assert_eq!(read(pages).await, Ok(vec![2, 1]));
        assert!(queries.lock()[2].contains("continue=more"));
    }

    #[tokio::test]
    async fn page_that_fails_is_asked_for_again_with_fewer_objects() {
        let answers = vec![
            page(&["a"], "more"),
            refusal(504),
            refusal(504),
            page(&["b"], ""),
        ];
        let (client, queries) = client(answers);
        let pages = Pages::new(Api::all(client), params(), LIMIT);
        assert_eq!(read(pages).await, Ok(vec![1, 1]));
        let limits: Vec<_> = queries.lock().iter().map(|query| limit_of(query)).collect();
        assert_eq!(limits, ["100", "100", "25", "6"]);
    }

    /// The answer of an API server to a token that is too old.
    fn expired(token: &str) -> (u16, String) {
        let status = json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
            "metadata": { "continue": token }, "message": "The provided continue parameter is too old" });
        (410, status.to_string())
    }

    #[tokio::test]
    async fn list_outlives_its_token() {
        let answers = vec![
            page(&["a"], "old"),
            expired("late"),
            page(&["b"], "older"),
            expired("later"),
            page(&["c"], ""),
        ];
        let (client, queries) = client(answers);
        let pages = Pages::new(Api::all(client), params(), LIMIT);
        assert_eq!(read(pages).await, Ok(vec![1, 1, 1]));
        for (query, token) in queries.lock()[1..]
            .iter()
            .zip(["old", "late", "older", "later"])
        {
            assert!(query.contains(&format!("continue={token}")), "{query}");
        }
    }

    #[tokio::test]
    async fn expired_list_without_another_token_ends() {
        let lasting = vec![page(&["a"], "old"), expired("late"), expired("late")];
        for answers in [vec![page(&["a"], "old"), expired("")], lasting] {
            let asked = answers.len();
            let (client, queries) = client(answers);
            let pages = Pages::new(Api::all(client), params(), LIMIT);
            assert!(read(pages).await.is_err());
            assert_eq!(queries.lock().len(), asked);
        }
    }

    #[tokio::test]
    async fn lasting_refusal_ends_the_list() {
        for (answers, asked) in [(vec![refusal(403)], 1), (vec![refusal(500); 4], 4)] {
            let (client, queries) = client(answers);
            let pages = Pages::new(Api::all(client), params(), LIMIT);
            assert!(read(pages).await.is_err());
            assert_eq!(queries.lock().len(), asked);
        }
    }

    fn limit_of(query: &str) -> String {
        let limit = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("limit="));
        limit.unwrap_or_default().to_owned()
    }
}
