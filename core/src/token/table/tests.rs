use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::identity::AssumeRole;
use crate::image::Endpoint;
use crate::token::quota::KeyQuota;

const START: Duration = Duration::from_secs(1000);

fn role(number: usize) -> Identity {
    Identity::Role(Arc::new(AssumeRole {
        role_arn: format!("arn:aws:iam::123456789012:role/tenant-{number}"),
        external_id: None,
        session_name: None,
    }))
}

fn key(identity: &Identity, region: &str) -> TokenKey {
    TokenKey {
        identity: identity.clone(),
        region: region.into(),
        endpoint: Endpoint::Standard,
    }
}

/// A table whose values are the standings themselves.
#[derive(Default)]
struct Trial(KeyTable<KeyStanding>);

impl Trial {
    fn enter(&mut self, key: &TokenKey, standing: KeyStanding) -> Result<(), TooManyKeys> {
        self.0.enter(key, standing, START, |standing| *standing)
    }

    fn regions(&self) -> BTreeSet<String> {
        self.0
            .iter()
            .map(|(key, _)| key.region.to_string())
            .collect()
    }
}

#[test]
fn thousand_roles_keep_their_tokens() {
    let mut table = Trial::default();
    for number in 0..1000 {
        let key = key(&role(number), "eu-central-1");
        assert_eq!(table.enter(&key, KeyStanding::Working), Ok(()));
    }
    assert_eq!(table.0.len(), 1000);
}

#[test]
fn invented_regions_make_room_oldest_first() {
    let (mut table, tenant) = (Trial::default(), role(1));
    assert_eq!(
        table.enter(&key(&tenant, "real"), KeyStanding::Working),
        Ok(())
    );
    assert_eq!(
        table.enter(&key(&tenant, "past"), KeyStanding::Expired),
        Ok(())
    );
    for number in 0..MAX_KEYS_OF_IDENTITY - 2 {
        let key = key(&tenant, &format!("land-{number}"));
        assert_eq!(table.enter(&key, KeyStanding::Unanswered), Ok(()));
    }
    for number in 0..3 {
        let key = key(&tenant, &format!("later-{number}"));
        assert_eq!(table.enter(&key, KeyStanding::Unanswered), Ok(()));
    }
    let regions = table.regions();
    assert_eq!(regions.len(), MAX_KEYS_OF_IDENTITY);
    for region in ["real", "past", "land-3", "later-0", "later-2"] {
        assert!(regions.contains(region), "{region}");
    }
    for region in ["land-0", "land-1", "land-2"] {
        assert!(!regions.contains(region), "{region}");
    }
}

#[test]
fn expired_token_goes_after_unanswered_keys() {
    let (mut table, tenant) = (Trial::default(), role(1));
    assert_eq!(
        table.enter(&key(&tenant, "past"), KeyStanding::Expired),
        Ok(())
    );
    for number in 1..MAX_KEYS_OF_IDENTITY {
        let key = key(&tenant, &format!("land-{number}"));
        assert_eq!(table.enter(&key, KeyStanding::Working), Ok(()));
    }
    assert_eq!(
        table.enter(&key(&tenant, "new"), KeyStanding::Working),
        Ok(())
    );
    assert!(!table.regions().contains("past"));
    let next = table.enter(&key(&tenant, "next"), KeyStanding::Working);
    assert_eq!(next, Err(TooManyKeys::OfIdentity));
    assert_eq!(table.0.len(), MAX_KEYS_OF_IDENTITY);
    // Another identity is not affected.
    assert_eq!(
        table.enter(&key(&role(2), "next"), KeyStanding::Working),
        Ok(())
    );
}

#[test]
fn last_quarter_is_kept_for_new_identities() {
    let mut table = Trial::default();
    let roles = 8;
    for number in 0..MAX_KEYS - RESERVED_KEYS {
        let key = key(&role(number % roles), &format!("land-{number}"));
        assert_eq!(table.enter(&key, KeyStanding::Working), Ok(()));
    }
    let further = table.enter(&key(&role(0), "further"), KeyStanding::Working);
    assert_eq!(further, Err(TooManyKeys::OfAll));
    for number in 0..RESERVED_KEYS {
        let key = key(&role(roles + number), "first");
        assert_eq!(table.enter(&key, KeyStanding::Working), Ok(()));
    }
    let first = table.enter(&key(&role(MAX_KEYS), "first"), KeyStanding::Working);
    assert_eq!(first, Err(TooManyKeys::OfAll));
    assert_eq!(table.0.len(), MAX_KEYS);
}

#[test]
fn idle_key_without_token_is_forgotten() {
    let mut table = KeyTable::default();
    let names = ["idle", "asked", "working"].map(|region| key(&Identity::Ambient, region));
    let standings = [
        KeyStanding::Unanswered,
        KeyStanding::Expired,
        KeyStanding::Working,
    ];
    for (key, standing) in names.iter().zip(standings) {
        table
            .enter(key, standing, START, |standing| *standing)
            .unwrap();
    }
    let later = START + IDLE - IDLE_INTERVAL;
    assert!(table.ask(&names[1], later).is_some());
    let new = key(&Identity::Ambient, "new");
    let enter = |table: &mut KeyTable<KeyStanding>, now| {
        table.enter(&new, KeyStanding::Working, now, |standing| *standing)
    };
    enter(&mut table, later).unwrap();
    assert_eq!(table.len(), 4);
    enter(&mut table, START + IDLE).unwrap();
    assert!(table.peek(&names[0]).is_none());
    assert!(table.peek(&names[1]).is_some() && table.peek(&names[2]).is_some());
}

/// The metric of expiries drops a token that expired and that no caller asks for.
#[test]
fn idle_key_with_expired_token_is_forgotten() {
    let mut table = Trial::default();
    let idle = key(&Identity::Ambient, "idle");
    table.enter(&idle, KeyStanding::Expired).unwrap();
    let forget = |table: &mut Trial, now| table.0.forget_idle(now, |standing| *standing);
    forget(&mut table, START + IDLE - IDLE_INTERVAL);
    assert_eq!(table.0.len(), 1);
    forget(&mut table, START + IDLE);
    assert!(table.0.is_empty());
}

#[test]
fn key_that_enters_twice_counts_once() {
    let (mut table, tenant) = (Trial::default(), role(1));
    for _ in 0..2 {
        assert_eq!(
            table.enter(&key(&tenant, "x"), KeyStanding::Working),
            Ok(())
        );
    }
    assert_eq!(table.0.of_identities[&tenant], 1);
    table.0.remove(&key(&tenant, "x"));
    assert!(table.0.is_empty() && table.0.of_identities.is_empty());
}

#[test]
fn refusal_states_its_limit() {
    let of_identity = TooManyKeys::OfIdentity.to_string();
    assert_eq!(
        of_identity,
        "the replica holds 512 tokens of this AWS identity"
    );
    let of_all = TooManyKeys::OfAll.to_string();
    assert!(
        of_all.contains("1536") && of_all.contains("2048"),
        "{of_all}"
    );
}

/// One request: of which namespace, for which identity and region, and whether AWS serves the region.
fn requests() -> impl Strategy<Value = Vec<(u8, u8, u16, bool)>> {
    proptest::collection::vec((0..4_u8, 0..3_u8, 0..2000_u16, any::<bool>()), 0..400)
}

proptest! {
    /// Whatever other namespaces ask for, in any order: honest keys with a token stay, and an identity
    /// that has no key gets one.
    #[test]
    fn requests_of_others_evict_no_working_key(
        requests in requests(),
        full in prop_oneof![0..MAX_KEYS, Just(MAX_KEYS)],
        do_fills_work in any::<bool>(),
    ) {
        let (mut table, mut quota) = (Trial::default(), KeyQuota::default());
        let honest = key(&role(0), "eu-central-1");
        table.enter(&honest, KeyStanding::Working).unwrap();
        let mut working = BTreeSet::from([honest]);
        for number in 0..full {
            let key = key(&role(1 + number % 5), &format!("full-{number}"));
            let standing = if do_fills_work { KeyStanding::Working } else { KeyStanding::Unanswered };
            if table.enter(&key, standing).is_ok() && do_fills_work {
                working.insert(key);
            }
        }
        for (namespace, identity, region, is_served) in requests {
            let key = key(&role(identity.into()), &format!("land-{region}"));
            if table.0.peek(&key).is_some() || quota.charge(&namespace.to_string(), &key, false, START).is_err() {
                continue;
            }
            let standing = if is_served { KeyStanding::Working } else { KeyStanding::Unanswered };
            if table.enter(&key, standing).is_ok() && is_served {
                working.insert(key);
            }
        }
        for key in &working {
            prop_assert!(table.0.peek(key).is_some(), "{key:?}");
        }
        prop_assert!(table.0.len() <= MAX_KEYS);
        prop_assert!(table.enter(&key(&role(9), "first"), KeyStanding::Working).is_ok());
        let counted: usize = table.0.of_identities.values().sum();
        prop_assert_eq!(counted, table.0.len());
    }
}
