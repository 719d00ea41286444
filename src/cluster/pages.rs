//! A list that is read page by page, so that one page at a time is in memory.

use std::fmt::Debug;
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use super::call::call_within;
use super::refusal::Refusal;

/// A list that is being read.
pub(crate) struct Pages<K> {
    api: Api<K>,
    /// The request of the next page, if there is one.
    params: Option<ListParams>,
    /// The deadline of one page.
    limit: Duration,
}

impl<K: Clone + DeserializeOwned + Debug> Pages<K> {
    pub(crate) fn new(api: Api<K>, params: ListParams, limit: Duration) -> Self {
        let params = Some(params);
        Self { api, params, limit }
    }

    /// The next page, if there is one.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server. The list is over then.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<K>>, Refusal> {
        let Some(params) = self.params.take() else {
            return Ok(None);
        };
        let page = call_within(self.limit, || self.api.list(&params)).await?;
        self.params = page
            .metadata
            .continue_
            .filter(|token| !token.is_empty())
            .map(|token| params.continue_token(&token));
        Ok(Some(page.items))
    }
}
