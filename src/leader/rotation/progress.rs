//! Progress of rotations, for the log: a line at the start, one every ten seconds, and one after the
//! last write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::identity::TokenKey;
use tracing::info;

/// The time between two lines about one rotation.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The rotations under way, by key.
#[derive(Debug, Default)]
pub(super) struct RotationProgress(HashMap<Arc<TokenKey>, SecretCounts>);

/// Numbers of Secrets.
#[derive(Debug)]
struct SecretCounts {
    started: Duration,
    logged: Duration,
    waiting: usize,
    running: usize,
    written: usize,
    failed: usize,
}

impl RotationProgress {
    /// Sets which Secrets wait, each with the keys of its stale tokens.
    pub(super) fn expect<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a [Arc<TokenKey>]>,
        now: Duration,
    ) {
        let mut numbers: HashMap<&Arc<TokenKey>, usize> = HashMap::new();
        for key in waiting.flatten() {
            *numbers.entry(key).or_default() += 1;
        }
        for (key, counts) in &mut self.0 {
            counts.waiting = numbers.remove(key).unwrap_or(0);
        }
        for (key, waiting) in numbers {
            let (region, identity) = (&*key.region, key.identity.to_string());
            info!(
                region,
                identity,
                namespaces = waiting,
                "rotating pull secrets"
            );
            let counts = SecretCounts {
                started: now,
                logged: now,
                waiting,
                running: 0,
                written: 0,
                failed: 0,
            };
            self.0.insert(key.clone(), counts);
        }
        self.log(now);
    }

    /// A write starts.
    pub(super) fn starts(&mut self, keys: &[Arc<TokenKey>]) {
        self.each(keys, |counts| {
            counts.waiting = counts.waiting.saturating_sub(1);
            counts.running += 1;
        });
    }

    /// A write ended.
    pub(super) fn ends(&mut self, keys: &[Arc<TokenKey>], is_written: bool, now: Duration) {
        self.each(keys, |counts| {
            counts.running = counts.running.saturating_sub(1);
            *(if is_written {
                &mut counts.written
            } else {
                &mut counts.failed
            }) += 1;
        });
        self.log(now);
    }

    fn each(&mut self, keys: &[Arc<TokenKey>], count: impl Fn(&mut SecretCounts)) {
        for key in keys {
            if let Some(counts) = self.0.get_mut(key) {
                count(counts);
            }
        }
    }

    /// Logs what is due, and forgets the rotations that ended.
    fn log(&mut self, now: Duration) {
        self.0.retain(|key, counts| {
            let is_over = counts.waiting == 0 && counts.running == 0;
            if is_over || now >= counts.logged + LOG_INTERVAL {
                counts.logged = now;
                let (region, identity) = (&*key.region, key.identity.to_string());
                let SecretCounts {
                    waiting,
                    written,
                    failed,
                    ..
                } = *counts;
                let seconds = now.saturating_sub(counts.started).as_secs_f64();
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

    #[test]
    fn rotation_ends_after_its_last_write() {
        let now = Duration::from_secs(1000);
        let (one, other) = ([key("us-east-1")], [key("us-east-1"), key("eu-west-1")]);
        let mut progress = RotationProgress::default();
        progress.expect([&one[..], &other].into_iter(), now);
        assert_eq!(progress.0[&one[0]].waiting, 2);
        assert_eq!(progress.0[&other[1]].waiting, 1);
        progress.starts(&other);
        // A survey meanwhile finds the Secrets that still wait.
        progress.expect([&one[..]].into_iter(), now);
        assert_eq!(progress.0[&one[0]].running, 1);
        progress.ends(&other, false, now);
        assert_eq!(progress.0.len(), 1, "one region has ended");
        assert_eq!(progress.0[&one[0]].failed, 1);
        progress.starts(&one);
        progress.ends(&one, true, now);
        assert!(progress.0.is_empty());
        // A late write that no rotation counts.
        progress.starts(&one);
        progress.ends(&one, true, now);
        assert!(progress.0.is_empty());
    }

    #[test]
    fn secret_of_another_writer_is_not_awaited() {
        let now = Duration::from_secs(1000);
        let one = [key("us-east-1")];
        let mut progress = RotationProgress::default();
        progress.expect([&one[..]].into_iter(), now);
        progress.expect([].into_iter(), now);
        assert!(progress.0.is_empty());
    }
}
