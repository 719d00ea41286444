use std::cell::Cell;
use std::pin::pin;

use futures::FutureExt as _;
use futures::future::{join, join_all};

use super::*;

fn caller(namespace: &Arc<str>, is_retry: bool, is_doubtful: bool) -> PodCaller<'_> {
    PodCaller {
        namespace,
        is_retry,
        is_doubtful,
    }
}

async fn of_pod(turns: &MintTurns, namespace: &str, is_retry: bool, is_doubtful: bool) {
    let namespace = namespace.into();
    let caller = caller(&namespace, is_retry, is_doubtful);
    turns.of_pod(caller, || true).await.unwrap();
}

/// A hundred callers of a namespace, as many at a time as it has slots.
async fn hundred_of_pod(turns: &MintTurns, namespace: &str, is_retry: bool, is_doubtful: bool) {
    let slots = (0..MAX_DOUBTFUL_OF_NAMESPACE).map(|_| async {
        for _ in 0..100 / MAX_DOUBTFUL_OF_NAMESPACE {
            of_pod(turns, namespace, is_retry, is_doubtful).await;
        }
    });
    join_all(slots).await;
}

#[tokio::test]
async fn pod_does_not_wait_for_schedule_or_retries() {
    let turns = MintTurns::new();
    let schedule = (0..100).map(|_| turns.call_for_schedule(false, || None::<()>));
    let pod = async {
        for _ in 0..4 {
            of_pod(&turns, "team", false, false).await;
        }
    };
    tokio::select! {
        biased;
        _ = join_all(schedule.collect::<Vec<_>>()) => panic!("the pod waited for the schedule"),
        () = hundred_of_pod(&turns, "retrying", true, false) => panic!("the pod waited for retries"),
        () = pod => {}
    }
}

#[tokio::test]
async fn namespace_with_many_keys_delays_no_other() {
    for is_doubtful in [false, true] {
        let turns = MintTurns::new();
        tokio::select! {
            biased;
            () = hundred_of_pod(&turns, "hostile", false, is_doubtful) => panic!("one waited for the other"),
            () = of_pod(&turns, "honest", false, is_doubtful) => {}
        }
    }
}

/// Each invention is for another namespace, or for that of the pod.
#[tokio::test]
async fn invented_regions_delay_no_region_that_exists() {
    for is_retry in [false, true] {
        let turns = MintTurns::new();
        let names: Vec<String> = (0..100).map(|number| format!("team-{number}")).collect();
        let others = names
            .iter()
            .map(|name| of_pod(&turns, name, is_retry, true));
        let own = hundred_of_pod(&turns, "honest", is_retry, true);
        let all = join(join_all(others.collect::<Vec<_>>()), own);
        tokio::select! {
            biased;
            _ = all => panic!("it waited for inventions"),
            () = of_pod(&turns, "honest", is_retry, false) => {}
        }
    }
}

#[tokio::test]
async fn retries_of_a_namespace_delay_no_first_call_of_it() {
    let turns = MintTurns::new();
    let names: Vec<String> = (0..100).map(|number| format!("team-{number}")).collect();
    let others = names.iter().map(|name| of_pod(&turns, name, true, false));
    let own = hundred_of_pod(&turns, "honest", true, false);
    let retries = join(join_all(others.collect::<Vec<_>>()), own);
    tokio::select! {
        biased;
        _ = retries => panic!("it waited for retries"),
        () = of_pod(&turns, "honest", false, false) => {}
    }
}

#[tokio::test]
async fn callers_for_invented_regions_are_limited() {
    let turns = MintTurns::new();
    let namespace: Arc<str> = "team".into();
    let ask = async |is_doubtful| {
        let caller = caller(&namespace, false, is_doubtful);
        turns.of_pod(caller, || true).await
    };
    let names: Vec<String> = (0..MAX_DOUBTFUL).map(|number| number.to_string()).collect();
    let slots = &turns.doubtful.pods.slots;
    let all: Vec<_> = names.iter().map(|name| slots.take(name).unwrap()).collect();
    assert_eq!(ask(true).await, Err(TooManyCallers));
    assert_eq!(ask(false).await, Ok(true));
    drop(all);
    assert_eq!(ask(true).await, Ok(true));
}

#[tokio::test]
async fn callers_of_one_namespace_are_limited() {
    let turns = MintTurns::new();
    for (queues, is_doubtful, share) in [
        (&turns.doubtful, true, MAX_DOUBTFUL_OF_NAMESPACE),
        (&turns.listed, false, MAX_LISTED_OF_NAMESPACE),
    ] {
        let taken: Vec<_> = (0..share)
            .map(|_| queues.pods.slots.take("hostile").unwrap())
            .collect();
        let (hostile, team) = ("hostile".into(), "team".into());
        let further = turns.of_pod(caller(&hostile, false, is_doubtful), || true);
        assert_eq!(further.await, Err(TooManyCallers));
        let other = turns.of_pod(caller(&team, false, is_doubtful), || true);
        assert_eq!(other.await, Ok(true));
        drop(taken);
    }
}

#[tokio::test]
async fn retries_take_no_slot_of_first_calls() {
    let turns = MintTurns::new();
    for (queues, is_doubtful, most) in [
        (&turns.doubtful, true, MAX_DOUBTFUL),
        (&turns.listed, false, MAX_LISTED),
    ] {
        let names: Vec<String> = (0..most).map(|number| number.to_string()).collect();
        let slots = &queues.retries.slots;
        let all: Vec<_> = names.iter().map(|name| slots.take(name).unwrap()).collect();
        let team = "team".into();
        let ask = |is_retry| turns.of_pod(caller(&team, is_retry, is_doubtful), || true);
        assert_eq!(ask(true).await, Err(TooManyCallers));
        assert_eq!(ask(false).await, Ok(true));
        drop(all);
    }
}

/// AWS gave the first caller a token that does not serve the second.
#[tokio::test]
async fn call_after_a_useless_one_takes_a_turn() {
    let (turns, minting) = (MintTurns::new(), tokio::sync::Mutex::new(()));
    let (first, second) = ("first".into(), "second".into());
    let call = |namespace| {
        let caller = caller(namespace, false, false);
        turns.call_for_pod(caller, &minting, || None::<()>)
    };
    let under_way = call(&first).await.unwrap();
    assert!(matches!(under_way, PodTurn::Call(_)));
    let mut second = pin!(call(&second));
    assert!(second.as_mut().now_or_never().is_none());
    let queue = turns.listed.pods.first.lock().await;
    drop(under_way);
    assert!(second.as_mut().now_or_never().is_none(), "without a turn");
    drop(queue);
    assert!(matches!(second.await, Ok(PodTurn::Call(_))));
}

#[tokio::test]
async fn callers_for_one_key_share_a_call() {
    let (turns, minting) = (MintTurns::new(), tokio::sync::Mutex::new(()));
    let (first, second) = ("first".into(), "second".into());
    let token = Mutex::new(None);
    let call = |namespace| {
        let caller = caller(namespace, false, false);
        turns.call_for_pod(caller, &minting, || *token.lock())
    };
    let under_way = call(&first).await.unwrap();
    let mut second = pin!(call(&second));
    assert!(second.as_mut().now_or_never().is_none());
    let _queue = turns.listed.pods.first.lock().await;
    *token.lock() = Some("token");
    drop(under_way);
    assert!(matches!(second.await, Ok(PodTurn::Known("token"))));
}

#[tokio::test]
async fn invented_regions_delay_no_scheduled_call() {
    let turns = MintTurns::new();
    let doubtful = (0..20).map(|_| turns.call_for_schedule(true, || None::<()>));
    tokio::select! {
        biased;
        _ = join_all(doubtful.collect::<Vec<_>>()) => panic!("it waited for inventions"),
        called = turns.call_for_schedule(false, || None::<()>) => assert_eq!(called, None),
    }
}

/// The failure that it knew is forgotten before it is used.
#[tokio::test]
async fn scheduled_call_always_takes_a_turn() {
    let turns = MintTurns::new();
    let asked = Cell::new(0);
    // Known at the second question alone.
    let known = || (asked.replace(asked.get() + 1) == 1).then_some(());
    let queue = turns.schedule.lock().await;
    let mut call = pin!(turns.call_for_schedule(false, known));
    assert!(call.as_mut().now_or_never().is_none());
    drop(queue);
    assert_eq!(call.await, None);
    assert_eq!(asked.get(), 4);
}

/// A thousand namespaces wait for one token, which arrives.
#[tokio::test]
async fn calls_that_are_not_needed_take_no_turn() {
    let turns = MintTurns::new();
    for _ in 0..1000 {
        // It arrives while the caller waits.
        let asked = Cell::new(false);
        let known = || asked.replace(true).then_some(());
        assert_eq!(turns.call_for_schedule(false, known).await, Some(()));
    }
    let now = turns.started.elapsed();
    assert_eq!(turns.pace.lock().start(MintReason::Schedule, now), Ok(()));
}

#[test]
fn namespaces_that_wait_no_longer_are_forgotten() {
    let mut queues = NamespaceQueues::default();
    let waiting: Arc<str> = "waiting".into();
    let kept = queues.of(&waiting, MintReason::Pod);
    for number in 0..1000 {
        let namespace: Arc<str> = number.to_string().into();
        queues.of(&namespace, MintReason::Pod);
        assert!(queues.queues.len() <= 2 * MIN_PRUNED + 2);
    }
    assert!(Arc::ptr_eq(&kept, &queues.of(&waiting, MintReason::Pod)));
}
