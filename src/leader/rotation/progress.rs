//! How far a rotation is, for the log: a line when it starts, one every ten seconds, one when every
//! namespace had its turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::identity::TokenKey;
use tokio::time::Instant;
use tracing::info;

const BETWEEN: Duration = Duration::from_secs(10);

/// The rotations under way, by key.
#[derive(Debug, Default)]
pub(super) struct Progress(HashMap<Arc<TokenKey>, Turns>);

/// How many namespaces are how far.
#[derive(Debug)]
struct Turns {
    since: Instant,
    told: Instant,
    waiting: usize,
    running: usize,
    written: usize,
    failed: usize,
}

impl Progress {
    /// Exactly these namespaces, each with the keys of its old tokens, wait for their turn.
    pub(super) fn expect<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a [Arc<TokenKey>]>,
        now: Instant,
    ) {
        let mut counts: HashMap<&Arc<TokenKey>, usize> = HashMap::new();
        for key in waiting.flatten() {
            *counts.entry(key).or_default() += 1;
        }
        for (key, turns) in &mut self.0 {
            turns.waiting = counts.remove(key).unwrap_or(0);
        }
        for (key, waiting) in counts {
            let (region, identity) = (&*key.region, key.identity.to_string());
            info!(
                region,
                identity,
                namespaces = waiting,
                "rotating pull secrets"
            );
            let turns = Turns {
                since: now,
                told: now,
                waiting,
                running: 0,
                written: 0,
                failed: 0,
            };
            self.0.insert(key.clone(), turns);
        }
        self.tell(now);
    }

    /// A namespace has its turn.
    pub(super) fn starts(&mut self, keys: &[Arc<TokenKey>]) {
        self.each(keys, |turns| {
            turns.waiting = turns.waiting.saturating_sub(1);
            turns.running += 1;
        });
    }

    /// A namespace had its turn.
    pub(super) fn ends(&mut self, keys: &[Arc<TokenKey>], well: bool, now: Instant) {
        self.each(keys, |turns| {
            turns.running = turns.running.saturating_sub(1);
            *(if well {
                &mut turns.written
            } else {
                &mut turns.failed
            }) += 1;
        });
        self.tell(now);
    }

    fn each(&mut self, keys: &[Arc<TokenKey>], count: impl Fn(&mut Turns)) {
        for key in keys {
            if let Some(turns) = self.0.get_mut(key) {
                count(turns);
            }
        }
    }

    /// Says what is to be said by now, and forgets what has ended.
    fn tell(&mut self, now: Instant) {
        self.0.retain(|key, turns| {
            let is_over = turns.waiting == 0 && turns.running == 0;
            if is_over || now >= turns.told + BETWEEN {
                turns.told = now;
                let (region, identity) = (&*key.region, key.identity.to_string());
                let Turns {
                    waiting,
                    written,
                    failed,
                    ..
                } = *turns;
                let seconds = (now - turns.since).as_secs_f64();
                match is_over {
                    true => info!(
                        region,
                        identity, written, failed, seconds, "pull secrets rotated"
                    ),
                    false => info!(
                        region,
                        identity, waiting, written, failed, seconds, "still rotating"
                    ),
                }
            }
            !is_over
        });
    }
}

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::identity::Identity;
    use ecr_pull_secrets_core::image::Registry;

    use super::*;

    fn key(region: &str) -> Arc<TokenKey> {
        let host = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
        let registry = Registry::of_host(&host).unwrap();
        Arc::new(TokenKey::new(Identity::Ambient, &registry))
    }

    #[tokio::test]
    async fn a_rotation_ends_when_every_namespace_had_its_turn() {
        let now = Instant::now();
        let (one, other) = ([key("us-east-1")], [key("us-east-1"), key("eu-west-1")]);
        let mut progress = Progress::default();
        progress.expect([&one[..], &other].into_iter(), now);
        assert_eq!(progress.0[&one[0]].waiting, 2);
        assert_eq!(progress.0[&other[1]].waiting, 1);
        progress.starts(&other);
        // A survey meanwhile finds what still waits.
        progress.expect([&one[..]].into_iter(), now);
        assert_eq!(progress.0[&one[0]].running, 1);
        progress.ends(&other, false, now);
        assert_eq!(progress.0.len(), 1, "one region is through");
        assert_eq!(progress.0[&one[0]].failed, 1);
        progress.starts(&one);
        progress.ends(&one, true, now);
        assert!(progress.0.is_empty());
        // A late one of nobody's count.
        progress.starts(&one);
        progress.ends(&one, true, now);
        assert!(progress.0.is_empty());
    }

    #[tokio::test]
    async fn what_somebody_else_wrote_is_not_waited_for() {
        let now = Instant::now();
        let one = [key("us-east-1")];
        let mut progress = Progress::default();
        progress.expect([&one[..]].into_iter(), now);
        progress.expect([].into_iter(), now);
        assert!(progress.0.is_empty());
    }
}
