//! Tolerated edits: another field manager's content stays if it opens every registry needed. Ours is
//! written at the next rotation.

use std::time::Duration;

use jiff::Timestamp;

use super::content::{Described, Grant};
use super::docker_config::DockerConfig;

/// The time until which another field manager's content is tolerated, at most `patience` from `now`.
/// `None` if it lacks a plausible entry for a registry of the grants. `described` is parsed from the
/// annotations: a restored or copied Secret still has the expiry of its tokens there.
pub fn tolerated_until(
    config: &DockerConfig,
    described: &Described,
    grants: &[Grant],
    patience: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut until = now.checked_add(patience).unwrap_or(Timestamp::MAX);
    let keyring = config.keyring();
    for grant in grants {
        let host = grant.registry.host();
        let keys = keyring.lookup(&format!("{host}/"));
        if !keys.iter().any(|key| config.has_ecr_credentials(key)) {
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
    use crate::pull_secret::content::DescribedEntry;
    use crate::token::Token;
    use crate::token::lifetime::Lifetime;

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
        let entry = |end| DescribedEntry {
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
    fn key_that_the_kubelet_takes_is_tolerated() {
        for (key, is_tolerated) in [
            (format!("https://{ONE}"), true),
            (format!("{ONE}/v1/"), true),
            ("*.dkr.ecr.us-east-1.amazonaws.com".to_owned(), true),
            (format!("{ONE}/team"), false),
            (format!("{ONE}:443"), false),
        ] {
            let mut config = DockerConfig::default();
            config.set_auth(&key, &BASE64_STANDARD.encode("AWS:theirs"));
            let described = Described::default();
            let until = tolerated_until(&config, &described, &[grant(ONE)], PATIENCE, at(0));
            assert_eq!(until, is_tolerated.then(|| at(600)), "{key}");
        }
    }

    #[test]
    fn plausible_entries_are_tolerated_until_they_expire() {
        let theirs = (ONE, "AWS:theirs");
        assert_eq!(until(&[theirs], &[], &[ONE]), Some(at(700)));
        assert_eq!(until(&[theirs], &[(ONE, 500)], &[ONE]), Some(at(500)));
        assert_eq!(until(&[theirs], &[(ONE, 1000)], &[ONE]), Some(at(700)));
        // The description of a registry without a grant does not matter.
        assert_eq!(until(&[theirs], &[(OTHER, 50)], &[ONE]), Some(at(700)));
        assert_eq!(until(&[], &[], &[]), Some(at(700)));
    }

    #[test]
    fn missing_foreign_or_expiring_entry_is_not_tolerated() {
        let theirs = (ONE, "AWS:theirs");
        assert_eq!(until(&[theirs], &[], &[ONE, OTHER]), None);
        assert_eq!(until(&[(ONE, "joe:password")], &[], &[ONE]), None);
        // Less than a tenth of the lifetime remains, or nothing.
        assert_eq!(until(&[theirs], &[(ONE, 110)], &[ONE]), None);
        assert_eq!(until(&[theirs], &[(ONE, 100)], &[ONE]), None);
    }
}
