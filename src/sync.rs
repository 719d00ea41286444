//! The one-shot form: makes the pull Secrets of all namespaces right, once, without any watch.
//!
//! What is wanted of a Secret is said by the same rules as in the replicas, and each write is
//! [optimistic](crate::cluster::optimistic): replicas may run beside it. A run takes minutes in a large
//! cluster, so each namespace is read again before its Secret is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::{Access, Subject, TokenKey};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::lineup::Prospect;
use ecr_pull_secrets_core::pull_secret::revision::{Aim, Intent};
use ecr_pull_secrets_core::rules::Glob;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::sync::{SyncOutcome, SyncReport, SyncRow};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::clock;
use crate::cluster::namespaces;
use crate::cluster::refusal::Refusal;
use crate::config::InForce;
use crate::engine::Engine;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::pull_secret::mandate::Mandate;
use crate::telemetry::metrics::Trigger;
use crate::wants::WantedNow;

/// The most namespaces at a time.
const MAX_NAMESPACES: usize = 16;
/// The most tokens that are renewed at a time.
const MAX_RENEWALS: usize = 4;
/// The time for one namespace. AWS may need some 20 s, and a flight retries.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a run is about.
#[derive(Debug, Default)]
pub(crate) struct SyncScope {
    /// Patterns of namespaces; empty: all.
    pub(crate) namespaces: Vec<Glob>,
    /// A label selector as `kubectl` takes it.
    pub(crate) selector: Option<String>,
    /// What the Secrets shall open, in place of what pods and configuration want.
    pub(crate) registries: Vec<Registry>,
    /// Whether each token is minted again.
    pub(crate) renews: bool,
}

/// The tokens of a run that renews, or why there is none.
type NewTokens = BTreeMap<TokenKey, Result<Token, Cause>>;

/// Runs once. `progress` gets the number of namespaces that are done, and of all.
///
/// # Errors
///
/// [`Refusal`] where the API server does not tell which namespaces or Secrets there are.
pub(crate) async fn run(
    engine: &Arc<Engine>,
    scope: &SyncScope,
    progress: impl Fn(usize, usize),
) -> Result<SyncReport, Refusal> {
    let config = engine.live.snapshot();
    engine.supply.learn_all().await?;
    let mut secrets = engine.secrets.pages(&config.secret.name);
    while let Some(secrets) = secrets.next().await? {
        for secret in &secrets {
            engine.ledger.saw(&secret.metadata);
        }
    }
    let names = selected(engine, scope).await?;
    let targets = stream::iter(&names).map(|name| wanted(engine, &config, scope, name));
    let targets: Vec<_> = targets.buffer_unordered(MAX_NAMESPACES).collect().await;

    let mut rows = Vec::new();
    let mut work = Vec::new();
    for (target, wanted) in targets {
        match wanted {
            Ok(Some(wanted)) => work.push((target, wanted)),
            Ok(None) => {}
            Err(refusal) => {
                let (cause, _) = refusal.into_parts();
                rows.push(row(engine, &target, &[], SyncOutcome::Failed(cause)));
            }
        }
    }
    let renewed = if scope.renews {
        renew(engine, &config, &work).await
    } else {
        NewTokens::new()
    };
    let (done, all) = (AtomicUsize::new(0), work.len());
    progress(0, all);
    let ensured = stream::iter(&work).map(|(target, wanted)| {
        let (config, renewed, done, progress) = (&config, &renewed, &done, &progress);
        async move {
            let outcome = one(engine, config, target, wanted, renewed).await;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            row(engine, target, &wanted.registries, outcome)
        }
    });
    rows.extend(
        ensured
            .buffer_unordered(MAX_NAMESPACES)
            .collect::<Vec<_>>()
            .await,
    );
    engine.pull_secrets.settled().await;
    engine.store.finish().await;
    Ok(SyncReport::new(rows))
}

/// The names of the namespaces of the run.
async fn selected(engine: &Engine, scope: &SyncScope) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    let mut pages = namespaces::pages(&engine.clients.call, scope.selector.as_deref());
    while let Some(namespaces) = pages.next().await? {
        for namespace in namespaces {
            engine.namespaces.saw(&namespace.metadata);
            names.extend(namespace.metadata.name);
        }
    }
    let patterns = &scope.namespaces;
    names.retain(|name| patterns.is_empty() || patterns.iter().any(|glob| glob.matches(name)));
    Ok(names)
}

/// What the Secret of a namespace shall open, if anything wants it.
async fn wanted(
    engine: &Engine,
    config: &InForce,
    scope: &SyncScope,
    namespace: &str,
) -> (Target, Result<Option<WantedNow>, Refusal>) {
    let target = config.target(namespace);
    if scope.registries.is_empty() {
        let wanted = engine.wants.of(&target).await;
        return (target, wanted);
    }
    // As for a pod without a label: a namespace that opted out, or is left out, gets nothing.
    let claim = SecretClaim::Pods(Wish::None);
    let fact = engine.namespaces.look_up(namespace).await;
    let registries = if claim.counts(config, namespace, fact) {
        let subject = Subject::of_namespace(namespace);
        let registries = scope.registries.iter().cloned();
        config.rules.grants(subject, registries, |_| ())
    } else {
        Vec::new()
    };
    let wanted = (!registries.is_empty()).then_some(WantedNow { claim, registries });
    (target, Ok(wanted))
}

/// Mints a token for each key. A new key is charged to a namespace that wants it, as in an admission:
/// what the configuration names is charged to none.
async fn renew(engine: &Engine, config: &InForce, work: &[(Target, WantedNow)]) -> NewTokens {
    let mut namespaces: BTreeMap<TokenKey, BTreeSet<&str>> = BTreeMap::new();
    for (target, wanted) in work {
        for access in &wanted.registries {
            let wanting = namespaces.entry(access.token_key()).or_default();
            wanting.insert(&target.namespace);
        }
    }
    let since = clock::now();
    let mut keys: Vec<_> = namespaces.into_iter().collect();
    keys.sort_by_cached_key(|(key, _)| {
        let is_held = engine.supply.held(key).is_some();
        Prospect::of(key, is_held, config)
    });
    let renewals = stream::iter(keys).map(|(key, namespaces)| async move {
        // Here, because a key may lose its slot to others that come after it.
        let charges = namespaces
            .into_iter()
            .map(|namespace| engine.supply.charge(&key, namespace, config));
        // Once charged, the key is free for the others.
        let renewed = match charges.reduce(Result::or) {
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(())) | None => engine.supply.renewed_since(&key, config, since).await,
        };
        (key, renewed.map_err(|failure| failure.cause()))
    });
    renewals.buffer_unordered(MAX_RENEWALS).collect().await
}

/// Why the Secret of a namespace is not written: the claim does not count there any more.
async fn check(
    engine: &Engine,
    config: &InForce,
    target: &Target,
    claim: SecretClaim,
) -> Result<(), Cause> {
    let fact = engine.namespaces.read_again(&target.namespace).await;
    let fact = fact.map_err(|refusal| refusal.into_parts().0)?;
    let unserved = claim.unserved(config, &target.namespace, fact);
    unserved.map_or(Ok(()), |unserved| Err(unserved.cause()))
}

/// The mandate of a run that renews.
struct RunMandate<'a> {
    engine: &'a Engine,
    config: &'a InForce,
    target: &'a Target,
    claim: SecretClaim,
    grants: &'a [Grant],
}

impl Mandate for RunMandate<'_> {
    async fn review(&mut self) -> Result<Intent<'_>, Cause> {
        let config = self.config;
        check(self.engine, config, self.target, self.claim).await?;
        Ok(Intent::new(config, config.since, self.grants, Aim::Newest))
    }
}

/// Makes one Secret right.
async fn one(
    engine: &Engine,
    config: &InForce,
    target: &Target,
    wanted: &WantedNow,
    renewed: &NewTokens,
) -> SyncOutcome {
    if let Err(cause) = check(engine, config, target, wanted.claim).await {
        return SyncOutcome::Failed(cause);
    }
    let done_by = Instant::now() + NAMESPACE_TIMEOUT;
    let ensured = engine.pull_secrets.ensure(Wanted {
        target,
        registries: &wanted.registries,
        claim: wanted.claim,
        mint_by: done_by,
        done_by,
        trigger: Trigger::sync,
    });
    let outcome = match ensured.await {
        Ensured::Fresh => SyncOutcome::Fresh,
        Ensured::Written => SyncOutcome::Written,
        Ensured::Late(cause) => return SyncOutcome::Failed(cause),
    };
    let mut grants = Vec::new();
    for access in &wanted.registries {
        match renewed.get(&access.token_key()) {
            None => {}
            Some(Err(cause)) => return SyncOutcome::Failed(*cause),
            Some(Ok(token)) => {
                let registry = access.registry.clone();
                grants.push(Grant::new(registry, &access.identity, token.clone()));
            }
        }
    }
    if grants.is_empty() {
        return outcome;
    }
    let mut mandate = RunMandate {
        engine,
        config,
        target,
        claim: wanted.claim,
        grants: &grants,
    };
    match engine.pull_secrets.rotate(target, &mut mandate).await {
        Ok(written) if written.applied => SyncOutcome::Written,
        Ok(_) => outcome,
        Err(cause) => SyncOutcome::Failed(cause),
    }
}

fn row(engine: &Engine, target: &Target, registries: &[Access], outcome: SyncOutcome) -> SyncRow {
    let holds = engine.ledger.read().holds_of(target);
    let expiries = holds.iter().map(|hold| hold.lifetime.expires_at);
    let hosts = registries.iter().map(|access| access.registry.host());
    SyncRow {
        namespace: target.namespace.to_string(),
        registries: hosts.map(str::to_owned).collect(),
        outcome,
        expires_at: expiries.min(),
    }
}
