//! What is left of a pull Secret when it shall not hold some of our entries any more: the namespace
//! opted out, or the rules deny a registry now.
//!
//! The last of these tokens has to end first, unless the namespace asks for their removal. Entries of
//! other owners stay, and so does the Secret that holds them.

use jiff::Timestamp;

use super::content::{Content, Described};
use super::ownership::{Existing, Ownership, ownership};
use super::revision::Edit;
use crate::config::Adopt;

/// When entries are withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawalTime {
    /// When the last of their tokens has ended.
    AfterExpiry,
    /// Now: the namespace has the annotation [`super::annotation::REMOVE`].
    Now,
}

/// What to do about a Secret that was read.
#[derive(Debug)]
pub enum Withdrawal {
    /// Nothing: it has no such entry of ours, or not yet.
    Unneeded,
    /// Write this content, without the entries.
    Write(Content),
    /// Delete the Secret: nothing else is in it.
    Delete,
}

/// Decides about a Secret that was read. `is_withdrawn` is asked whether the entry of a host has to go.
///
/// A Secret of another owner stays as it is. If another field manager wrote the content of ours, its
/// entries may be that manager's: they go only if the namespace asks for it.
pub fn withdrawal(
    secret: &Existing<'_>,
    edit: Edit,
    time: WithdrawalTime,
    is_withdrawn: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Withdrawal {
    // What is adopted is not ours yet.
    let Ownership::Ours(mut config) = ownership(secret, Adopt::Never) else {
        return Withdrawal::Unneeded;
    };
    if edit != Edit::Absent && time == WithdrawalTime::AfterExpiry {
        return Withdrawal::Unneeded;
    }
    let mut described = Described::read(|name| secret.annotation(name));
    let withdrawn: Vec<String> = described
        .0
        .keys()
        .filter(|host| is_withdrawn(host) && config.has_ecr_credentials(host))
        .cloned()
        .collect();
    let works = |host: &String| {
        let entry = described.0.get(host);
        entry.is_some_and(|entry| entry.lifetime.is_usable(now))
    };
    let is_due = time == WithdrawalTime::Now || !withdrawn.iter().any(works);
    if withdrawn.is_empty() || !is_due {
        return Withdrawal::Unneeded;
    }
    for host in &withdrawn {
        config.remove(host);
        described.0.remove(host);
    }
    if config.is_empty() {
        return Withdrawal::Delete;
    }
    described
        .0
        .retain(|host, _| config.has_ecr_credentials(host));
    Withdrawal::Write(Content::of(&config, described))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::image::Registry;
    use crate::pull_secret::content::{Grant, is_exclusive, merge};
    use crate::pull_secret::docker_config::DockerConfig;
    use crate::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, SECRET_TYPE};
    use crate::token::Token;

    const EAST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const WEST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    const ELSEWHERE: &str = "registry.example.com";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A Secret of ours with tokens from 0 to these times, beside these entries of another owner.
    struct Sample {
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        docker_config: String,
        secret_type: &'static str,
    }

    impl Sample {
        fn new(ours: &[(&str, i64)], others: &Value) -> Self {
            let grants: Vec<Grant> = ours
                .iter()
                .map(|(host, end)| Grant {
                    registry: Registry::of_host(host).unwrap(),
                    identity: "ambient".into(),
                    token: Token::new(BASE64_STANDARD.encode("AWS:x"), at(0), Some(at(*end)))
                        .unwrap(),
                })
                .collect();
            let config = DockerConfig::parse(json!({ "auths": others }).to_string().as_bytes());
            let merged = merge(
                config.unwrap(),
                Described::default(),
                &grants,
                Timestamp::MIN,
                at(1),
            );
            let annotations = merged.content.annotations.into_iter();
            Self {
                labels: BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())]),
                annotations: annotations
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                docker_config: merged.content.docker_config.expose_secret().to_owned(),
                secret_type: SECRET_TYPE,
            }
        }

        fn without(
            &self,
            hosts: &[&str],
            edit: Edit,
            time: WithdrawalTime,
            now: i64,
        ) -> Withdrawal {
            let existing = Existing {
                secret_type: self.secret_type,
                immutable: false,
                labels: Some(&self.labels),
                annotations: Some(&self.annotations),
                keys: vec![DATA_KEY],
                docker_config: self.docker_config.as_bytes(),
            };
            withdrawal(&existing, edit, time, |host| hosts.contains(&host), at(now))
        }
    }

    fn unneeded(withdrawal: &Withdrawal) -> bool {
        matches!(withdrawal, Withdrawal::Unneeded)
    }

    /// The hosts of a content that is written.
    fn written(withdrawal: Withdrawal) -> (Vec<String>, Content) {
        let Withdrawal::Write(content) = withdrawal else {
            panic!("{withdrawal:?}");
        };
        let text = content.docker_config.expose_secret();
        let config = DockerConfig::parse(text.as_bytes()).unwrap();
        (config.hosts().map(str::to_owned).collect(), content)
    }

    use WithdrawalTime::{AfterExpiry, Now};

    #[test]
    fn secret_of_ours_alone_goes_with_its_last_token() {
        let secret = Sample::new(&[(EAST, 500), (WEST, 900)], &json!({}));
        let both = [EAST, WEST];
        for (time, now, is_deleted) in [
            (AfterExpiry, 499, false),
            (AfterExpiry, 500, false),
            (AfterExpiry, 899, false),
            (AfterExpiry, 900, true),
            (Now, 100, true),
        ] {
            let got = secret.without(&both, Edit::Absent, time, now);
            assert_eq!(
                matches!(got, Withdrawal::Delete),
                is_deleted,
                "{time:?} {now}"
            );
            assert_eq!(unneeded(&got), !is_deleted, "{time:?} {now}");
        }
    }

    #[test]
    fn denied_registry_goes_and_the_rest_stays() {
        let secret = Sample::new(&[(EAST, 500), (WEST, 900)], &json!({}));
        let early = secret.without(&[EAST], Edit::Absent, AfterExpiry, 499);
        assert!(unneeded(&early), "{early:?}");
        let (hosts, content) = written(secret.without(&[EAST], Edit::Absent, AfterExpiry, 500));
        assert_eq!(hosts, [WEST]);
        assert!(content.described.0.keys().eq([WEST]));
        let annotation = |name: &str| content.annotations.get(name).map(String::as_str);
        assert!(is_exclusive(annotation));
    }

    #[test]
    fn entries_of_other_owners_stay() {
        let others = json!({ ELSEWHERE: { "auth": BASE64_STANDARD.encode("joe:x") } });
        let secret = Sample::new(&[(EAST, 500)], &others);
        let (hosts, content) = written(secret.without(&[EAST], Edit::Absent, Now, 100));
        assert_eq!(hosts, [ELSEWHERE]);
        assert!(content.described.0.is_empty());
        let annotation = |name: &str| content.annotations.get(name).map(String::as_str);
        assert!(!is_exclusive(annotation));
        assert_eq!(Described::read(annotation), Described::default());
        // An entry that the annotations do not describe is another owner's, too.
        let undescribed = secret.without(&[ELSEWHERE], Edit::Absent, Now, 100);
        assert!(unneeded(&undescribed), "{undescribed:?}");
    }

    #[test]
    fn edited_content_goes_only_if_asked() {
        let secret = Sample::new(&[(EAST, 500)], &json!({}));
        for edit in [Edit::Tolerable, Edit::Overdue] {
            let kept = secret.without(&[EAST], edit, AfterExpiry, 900);
            assert!(unneeded(&kept), "{kept:?}");
            let asked = secret.without(&[EAST], edit, Now, 100);
            assert!(matches!(asked, Withdrawal::Delete), "{asked:?}");
        }
    }

    #[test]
    fn foreign_secret_stays() {
        let mut foreign = Sample::new(&[(EAST, 500)], &json!({}));
        foreign.labels.clear();
        let mut opaque = Sample::new(&[(EAST, 500)], &json!({}));
        opaque.secret_type = "Opaque";
        for secret in [foreign, opaque] {
            let kept = secret.without(&[EAST], Edit::Absent, Now, 900);
            assert!(unneeded(&kept), "{kept:?}");
        }
    }

    #[test]
    fn impossible_expiry_delays_no_withdrawal() {
        let secret = Sample::new(&[(EAST, 500 + 25 * 3600)], &json!({}));
        let got = secret.without(&[EAST], Edit::Absent, AfterExpiry, 500);
        assert!(matches!(got, Withdrawal::Delete), "{got:?}");
    }

    /// The namespace opts in again, or a version that knows no withdrawal leads.
    #[test]
    fn secret_takes_tokens_again_after_a_withdrawal() {
        let others = json!({ ELSEWHERE: { "auth": BASE64_STANDARD.encode("joe:x") } });
        let secret = Sample::new(&[(EAST, 500)], &others);
        let (_, content) = written(secret.without(&[EAST], Edit::Absent, Now, 100));
        let text = content.docker_config.expose_secret();
        let config = DockerConfig::parse(text.as_bytes()).unwrap();
        let described = Described::read(|name| content.annotations.get(name).map(String::as_str));
        let grant = Grant {
            registry: Registry::of_host(WEST).unwrap(),
            identity: "ambient".into(),
            token: Token::new(BASE64_STANDARD.encode("AWS:x"), at(0), Some(at(900))).unwrap(),
        };
        let merged = merge(config, described, &[grant], Timestamp::MIN, at(100));
        assert!(merged.content.described.serves(WEST, at(100)));
        let text = merged.content.docker_config.expose_secret();
        assert!(text.contains(ELSEWHERE) && text.contains(WEST), "{text}");
    }

    #[test]
    fn welcome_secret_stays() {
        let secret = Sample::new(&[(EAST, 500)], &json!({}));
        for time in [AfterExpiry, Now] {
            let kept = secret.without(&[], Edit::Absent, time, 900);
            assert!(unneeded(&kept), "{kept:?}");
        }
    }
}
