use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;

const SUBJECT: Subject<'_> = Subject {
    namespace: "team",
    service_account: Some("default"),
};

fn metadata(version: &str, enforce: &str) -> ObjectMeta {
    serde_json::from_value(json!({
        "namespace": "team", "name": "default", "resourceVersion": version,
        "annotations": { ENFORCE: enforce },
    }))
    .unwrap()
}

fn enter(accounts: &mut Accounts, metadata: &ObjectMeta) {
    let seen = accounts.read(metadata);
    accounts.enter(&seen);
}

fn learn(accounts: &mut Accounts, metadata: &ObjectMeta, secret: &str, is_listed: bool) {
    let version = accounts.version(metadata);
    accounts.learn(SUBJECT, version, secret, is_listed);
}

#[test]
fn only_the_value_true_enforces() {
    assert!(enforces(&metadata("1", "true")));
    assert!(!enforces(&metadata("1", "false")));
    assert!(!enforces(&metadata("1", "True")));
    assert!(!enforces(&ObjectMeta::default()));
}

#[test]
fn account_mentions_what_either_list_names() {
    let reference = json!([{ "name": "other" }, { "name": "pull" }]);
    for list in ["secrets", "imagePullSecrets"] {
        let account = json!({ "metadata": {}, list: reference });
        let account: ServiceAccount = serde_json::from_value(account).unwrap();
        assert!(
            mentions(&account, "pull") && !mentions(&account, "pul"),
            "{list}"
        );
    }
    assert!(!mentions(&ServiceAccount::default(), "pull"));
}

#[test]
fn account_is_asked_for_each_secret_once_a_version() {
    let mut accounts = Accounts::default();
    let first = metadata("1", "true");
    assert_eq!(accounts.forbids(SUBJECT, "pull"), None);
    enter(&mut accounts, &first);
    assert_eq!(accounts.forbids(SUBJECT, "pull"), None);
    learn(&mut accounts, &first, "pull", true);
    learn(&mut accounts, &first, "other", false);
    assert_eq!(accounts.forbids(SUBJECT, "pull"), Some(false));
    assert_eq!(accounts.forbids(SUBJECT, "other"), Some(true));
    // The same version, as after the watch started again.
    enter(&mut accounts, &first);
    assert_eq!(accounts.forbids(SUBJECT, "pull"), Some(false));
    enter(&mut accounts, &metadata("2", "true"));
    assert_eq!(accounts.forbids(SUBJECT, "pull"), None);
    // The read was older than what the watch brought meanwhile.
    learn(&mut accounts, &first, "pull", true);
    assert_eq!(accounts.forbids(SUBJECT, "pull"), None);
}

#[test]
fn free_account_forbids_nothing() {
    let mut accounts = Accounts::default();
    enter(&mut accounts, &metadata("1", "true"));
    enter(&mut accounts, &metadata("2", "false"));
    assert_eq!(accounts.forbids(SUBJECT, "pull"), Some(false));
    let last = metadata("3", "false");
    let seen = accounts.read(&last);
    accounts.remove(&seen);
    assert_eq!(accounts.forbids(SUBJECT, "pull"), None);
}

#[test]
fn answers_about_one_account_stay_few() {
    let mut accounts = Accounts::default();
    let account = metadata("1", "true");
    enter(&mut accounts, &account);
    for number in 0..100 {
        learn(&mut accounts, &account, &number.to_string(), true);
    }
    let known = accounts.enforcing.values().next().unwrap();
    assert_eq!(known.lists.len(), MAX_ANSWERS);
    assert_eq!(accounts.forbids(SUBJECT, "99"), Some(false));
}

#[test]
fn accounts_beyond_the_limits_are_not_remembered() {
    let mut accounts = Accounts::default();
    let names: Vec<_> = (0..=MAX_ACCOUNTS / MAX_ACCOUNTS_OF_NAMESPACE)
        .map(|number| format!("team-{number}"))
        .collect();
    let seen = |namespace: usize, number: usize, enforces| SeenAccount {
        namespace: &names[namespace],
        key: (namespace << 32 | number) as u64,
        version: 1,
        enforces,
    };
    let remembered = |accounts: &Accounts| accounts.free.len() + accounts.enforcing.len();
    for number in 0..=MAX_ACCOUNTS_OF_NAMESPACE {
        accounts.enter(&seen(0, number, number % 2 == 0));
    }
    assert_eq!(remembered(&accounts), MAX_ACCOUNTS_OF_NAMESPACE);
    // A change and an end of those inside count once; those outside give no slot back.
    for number in [0, 1] {
        accounts.enter(&seen(0, number, number % 2 == 1));
        accounts.remove(&seen(0, number, false));
        accounts.remove(&seen(0, number, false));
    }
    for number in 0..MAX_ACCOUNTS_OF_NAMESPACE * 2 {
        accounts.enter(&seen(0, number, false));
    }
    assert_eq!(remembered(&accounts), MAX_ACCOUNTS_OF_NAMESPACE);
    for namespace in 1..names.len() {
        for number in 0..MAX_ACCOUNTS_OF_NAMESPACE {
            accounts.enter(&seen(namespace, number, false));
        }
    }
    assert_eq!(remembered(&accounts), MAX_ACCOUNTS);
}

#[tokio::test]
async fn waiting_reviews_share_one_read_of_account() {
    static READS: AtomicUsize = AtomicUsize::new(0);
    let restricted = metadata("1", "true");
    let answer = json!({ "metadata": restricted }).to_string();
    let service = service_fn(move |_: Request<Body>| {
        let answer = Response::new(Full::new(Bytes::from(answer.clone())));
        async {
            READS.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let client = Client::new(service, "default");
    let accounts = ServiceAccounts::new(&Clients {
        watch: client.clone(),
        call: client,
        look_ups: LookUps::default(),
    });
    enter(&mut accounts.accounts.write(), &restricted);
    let reviews = (0..96).map(|_| accounts.forbids(SUBJECT, "pull"));
    assert_eq!(join_all(reviews).await, [true; 96]);
    let reads = READS.load(Ordering::Relaxed);
    assert!(reads <= 2, "{reads} reads");
}
