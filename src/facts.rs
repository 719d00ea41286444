//! The facts about a pod that the plan needs: from memory first, and from the API server for one
//! that memory does not hold.

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::workload::plan::{AccountFact, Fact, Facts, Workload};

use crate::engine::Engine;

/// The facts that memory holds.
pub(crate) fn in_memory(engine: &Engine, config: &Config, workload: &Workload<'_>) -> Facts {
    let namespace = workload.namespace;
    let forbids = engine
        .service_accounts
        .cached(workload.subject(), &config.secret.name);
    Facts {
        namespace: engine.namespaces.cached(namespace),
        account: forbids.map(account_fact),
    }
}

/// Looks up one fact, and enters it.
pub(crate) async fn look_up(
    engine: &Engine,
    config: &Config,
    fact: Fact,
    workload: &Workload<'_>,
    facts: &mut Facts,
) {
    let namespace = workload.namespace;
    match fact {
        Fact::Namespace => facts.namespace = Some(engine.namespaces.look_up(namespace).await),
        Fact::Account => {
            let (subject, secret) = (workload.subject(), &config.secret.name);
            let forbids = engine.service_accounts.forbids(subject, secret);
            facts.account = Some(account_fact(forbids.await));
        }
    }
}

fn account_fact(forbids: bool) -> AccountFact {
    if forbids {
        AccountFact::Restricted
    } else {
        AccountFact::Unrestricted
    }
}
