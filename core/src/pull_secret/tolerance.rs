//! Edits that are not fought over: another writer's content that opens every registry needed stays,
//! and ours is written at the next rotation.

use std::time::Duration;

use jiff::Timestamp;

use super::content::{Described, Grant};
use super::docker_config::DockerConfig;

/// Until when content that somebody else wrote is left as it is; `None` where it lacks a plausible
/// entry for one of the grants' registries. `described` is what the annotations say: a Secret that
/// was restored or copied still says when its tokens end. Nothing is left for longer than
/// `patience`.
pub fn tolerated_until(
    config: &DockerConfig,
    described: &Described,
    grants: &[Grant],
    patience: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut until = now.checked_add(patience).unwrap_or(Timestamp::MAX);
    for grant in grants {
        let host = grant.registry.host();
        if !config.has_ecr_credentials(host) {
            return None;
        }
        if let Some(entry) = described.0.get(host) {
            if !entry.lifetime.serves(now) {
                return None;
            }
            until = until.min(entry.lifetime.expires_at);
        }
    }
    Some(until)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::image::Registry;
    use crate::pull_secret::content::{Entry, Lifetime};
    use crate::token::Token;

    const ONE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const OTHER: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    const PATIENCE: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant(host: &str) -> Grant {
        let text = BASE64_STANDARD.encode("AWS:ours");
        Grant {
            registry: Registry::of_host(host).unwrap(),
            identity: "ambient".into(),
            token: Token::new(text, at(0), Some(at(2000))).unwrap(),
        }
    }

    fn until(hosts: &[(&str, &str)], ends: &[(&str, i64)], wanted: &[&str]) -> Option<Timestamp> {
        let mut config = DockerConfig::default();
        for (host, pair) in hosts {
            config.set_auth(host, &BASE64_STANDARD.encode(pair));
        }
        let entry = |end| Entry {
            lifetime: Lifetime {
                minted_at: at(0),
                expires_at: at(end),
            },
            identity: "ambient".into(),
        };
        let ends = ends
            .iter()
            .map(|(host, end)| ((*host).to_owned(), entry(*end)));
        let grants: Vec<Grant> = wanted.iter().copied().map(grant).collect();
        let described = Described(ends.collect());
        tolerated_until(&config, &described, &grants, PATIENCE, at(100))
    }

    #[test]
    fn a_plausible_entry_for_every_registry_is_left_for_as_long_as_it_lasts() {
        let theirs = (ONE, "AWS:theirs");
        assert_eq!(until(&[theirs], &[], &[ONE]), Some(at(700)));
        assert_eq!(until(&[theirs], &[(ONE, 500)], &[ONE]), Some(at(500)));
        assert_eq!(until(&[theirs], &[(ONE, 1000)], &[ONE]), Some(at(700)));
        // What is said of a registry that nobody asks for does not matter.
        assert_eq!(until(&[theirs], &[(OTHER, 50)], &[ONE]), Some(at(700)));
        assert_eq!(until(&[], &[], &[]), Some(at(700)));
    }

    #[test]
    fn anything_worse_is_not_left() {
        let theirs = (ONE, "AWS:theirs");
        assert_eq!(until(&[theirs], &[], &[ONE, OTHER]), None);
        assert_eq!(until(&[(ONE, "joe:password")], &[], &[ONE]), None);
        // A tenth of its life is not left, or nothing at all.
        assert_eq!(until(&[theirs], &[(ONE, 110)], &[ONE]), None);
        assert_eq!(until(&[theirs], &[(ONE, 100)], &[ONE]), None);
    }
}
