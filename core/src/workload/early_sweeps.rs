//! When a list of all pods comes early: pods could not be reported, and had no room to wait.
//!
//! Such a list costs the API server much, and a tenant may cause it again and again. So each namespace
//! has a pause of its own before a list, which doubles while it asks for further lists. Nothing here
//! knows the time.

use std::collections::HashMap;
use std::time::Duration;

use crate::backoff::Backoff;

/// The time from a request to the list. If a namespace does not ask for the longest one after the end of
/// its last pause, the first follows again.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60 * 60));

/// The early lists that namespaces ask for.
#[derive(Debug, Default)]
pub struct EarlySweeps {
    /// By namespace. No namespace has an empty name: that is the replica itself.
    requests: HashMap<Box<str>, SweepRequest>,
}

#[derive(Debug)]
struct SweepRequest {
    pause: Duration,
    /// When the list is due, or was.
    due: Duration,
    /// Whether no list has begun since.
    is_open: bool,
}

impl EarlySweeps {
    /// Asks for a list because of pods of a namespace; without one, because the memory of the replica is
    /// full. A namespace has one request at a time.
    pub fn ask(&mut self, namespace: Option<&str>, now: Duration) {
        let name = namespace.unwrap_or_default();
        let last = self.requests.get(name);
        if last.is_some_and(|last| last.is_open) {
            return;
        }
        let last = last.filter(|last| !last.is_past(now));
        let pause = PAUSES.after(last.map_or(Duration::ZERO, |last| last.pause));
        let request = SweepRequest {
            pause,
            due: now + pause,
            is_open: true,
        };
        self.requests.insert(name.into(), request);
    }

    /// A list begins. It finds the pods of all namespaces that have asked.
    pub fn begin(&mut self, now: Duration) {
        self.requests.retain(|_, request| !request.is_past(now));
        for request in self.requests.values_mut() {
            request.is_open = false;
        }
    }

    /// When the next list is due.
    pub fn next(&self) -> Option<Duration> {
        let open = self.requests.values().filter(|request| request.is_open);
        open.map(|request| request.due).min()
    }
}

impl SweepRequest {
    /// Whether the next request of this namespace counts as its first one.
    fn is_past(&self, now: Duration) -> bool {
        now >= self.due + PAUSES.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Asks again right after each of these lists. Returns the minutes between them.
    fn pauses(sweeps: &mut EarlySweeps, namespace: Option<&str>, lists: usize) -> Vec<u64> {
        let mut now = Duration::ZERO;
        let minutes = (0..lists).map(|_| {
            sweeps.ask(namespace, now);
            let due = sweeps.next().expect("a list");
            let pause = due - now;
            now = due;
            sweeps.begin(now);
            pause.as_secs() / 60
        });
        minutes.collect()
    }

    #[test]
    fn namespace_that_asks_again_waits_longer() {
        for namespace in [Some("tenant"), None] {
            let mut sweeps = EarlySweeps::default();
            let wanted = [1, 2, 4, 8, 16, 32, 60, 60];
            assert_eq!(pauses(&mut sweeps, namespace, 8), wanted);
            assert_eq!(sweeps.next(), None);
        }
    }

    #[test]
    fn pause_of_one_namespace_delays_no_other() {
        let mut sweeps = EarlySweeps::default();
        pauses(&mut sweeps, Some("tenant"), 5);
        let now = MINUTE * 31;
        sweeps.ask(Some("tenant"), now);
        assert_eq!(sweeps.next(), Some(now + MINUTE * 32));
        sweeps.ask(Some("team"), now);
        assert_eq!(sweeps.next(), Some(now + MINUTE));
    }

    #[test]
    fn open_request_keeps_its_time() {
        let mut sweeps = EarlySweeps::default();
        for second in 0..100 {
            sweeps.ask(Some("tenant"), Duration::from_secs(second));
            assert_eq!(sweeps.next(), Some(MINUTE));
        }
        // A list for another reason finds its pods, too.
        sweeps.begin(MINUTE / 2);
        assert_eq!(sweeps.next(), None);
        sweeps.ask(Some("tenant"), MINUTE / 2);
        assert_eq!(sweeps.next(), Some(MINUTE / 2 + MINUTE * 2));
    }

    #[test]
    fn quiet_namespace_is_forgotten() {
        let mut sweeps = EarlySweeps::default();
        sweeps.ask(Some("team"), Duration::ZERO);
        sweeps.begin(MINUTE);
        // A pause in which it does not ask is not enough.
        sweeps.ask(Some("team"), MINUTE * 60);
        assert_eq!(sweeps.next(), Some(MINUTE * 62));
        sweeps.begin(MINUTE * 62);
        sweeps.ask(Some("team"), MINUTE * 122);
        assert_eq!(sweeps.next(), Some(MINUTE * 123));
        sweeps.begin(MINUTE * 123);
        sweeps.begin(MINUTE * 183);
        assert!(sweeps.requests.is_empty());
    }
}
