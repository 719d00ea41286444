//! The last good configuration, in the token store's first Secret: a replica whose file is invalid at
//! its start serves with that.

use std::collections::BTreeMap;

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::config::kept::KEPT_KEY;

use super::store::Store;
use crate::cluster::optimistic::version_of;
use crate::cluster::refusal::Refusal;

/// The configuration that was kept last, if this version can use it.
///
/// # Errors
///
/// [`Refusal`], never a conflict.
pub(crate) async fn read(store: &Store) -> Result<Option<Config>, Refusal> {
    let secret = store.first().read().await?;
    let value = secret.and_then(|secret| secret.data?.remove(KEPT_KEY));
    Ok(value.and_then(|value| Config::of_kept(&value.0)))
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigKept {
    /// It was written now.
    Written,
    /// It was there already.
    Before,
    /// It is too long.
    TooLong,
}

/// Keeps a configuration, unless it is kept already.
///
/// # Errors
///
/// [`Refusal`]; a conflict when another replica wrote the Secret meanwhile.
pub(crate) async fn keep(store: &Store, config: &Config) -> Result<ConfigKept, Refusal> {
    let Some(value) = config.to_keep() else {
        return Ok(ConfigKept::TooLong);
    };
    let secret = store.first().read().await?;
    let kept = secret.as_ref().and_then(|secret| secret.data.as_ref());
    if kept.is_some_and(|data| data.get(KEPT_KEY).is_some_and(|kept| kept.0 == value)) {
        return Ok(ConfigKept::Before);
    }
    let base = secret.as_ref().map(|secret| version_of(&secret.metadata));
    let data = BTreeMap::from([(KEPT_KEY.to_owned(), Some(value))]);
    store.first().write(base.as_ref(), data).await?;
    Ok(ConfigKept::Written)
}
