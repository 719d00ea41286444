//! How many new keys one namespace may bring: pod authors choose regions, and each new key is a call
//! of AWS and takes a slot.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use crate::identity::TokenKey;

/// The number of new keys that a namespace may bring within [`WINDOW`].
const MAX_NEW_KEYS: usize = 16;
/// The time after which a new key no longer counts among the sixteen.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The number of new keys that a namespace may bring within [`LIFETIME`]. A pull Secret holds at most
/// 100 registries, so no honest namespace needs more.
const MAX_KEYS_OF_LIFETIME: usize = 128;
/// The lifetime of a token: a key that no pod names any more keeps its slot for as long.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The number of new keys of all namespaces that count. With some 100 bytes each, and 200 for each
/// namespace, they take at most 10 MB, and 2 MB where each namespace brought sixteen.
const MAX_CHARGES: usize = 32_768;

/// Why a new key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyNewKeys {
    /// The namespace has brought as many as it may.
    #[error(
        "the namespace brought {MAX_NEW_KEYS} new regions within {} s, or {MAX_KEYS_OF_LIFETIME} within {} s",
        WINDOW.as_secs(),
        LIFETIME.as_secs()
    )]
    OfNamespace,
    /// AWS does not document the region, and all namespaces together brought too many new keys.
    #[error("all namespaces brought {MAX_CHARGES} new regions within {} s", WINDOW.as_secs())]
    OfAll,
}

/// The new keys of each namespace. All times are durations since one start.
///
/// A charge costs the same whatever the number of namespaces: old charges leave in the order in which
/// they came.
#[derive(Debug, Default)]
pub struct KeyQuota {
    namespaces: HashMap<Arc<str>, VecDeque<KeyCharge>>,
    /// The namespace of every charge that counts, from the oldest.
    charges: VecDeque<(Duration, Arc<str>)>,
}

#[derive(Debug)]
struct KeyCharge {
    at: Duration,
    /// A hash of the key.
    key: u64,
}

impl KeyQuota {
    /// Charges a new key to a namespace; `is_listed` says whether AWS documents its region. The same
    /// key again is free for ten minutes: it may have lost its slot meanwhile.
    ///
    /// If too many charges count, the oldest one is forgotten early, unless it is younger than ten
    /// minutes. Then a region that AWS documents is free, because there are few, and another one may
    /// be an invention.
    ///
    /// # Errors
    ///
    /// [`TooManyNewKeys`] until older charges no longer count.
    pub fn charge(
        &mut self,
        namespace: &str,
        key: &TokenKey,
        is_listed: bool,
        now: Duration,
    ) -> Result<(), TooManyNewKeys> {
        self.forget_old(now);
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let key = hasher.finish();
        let charged = self.namespaces.get(namespace);
        let is_recent = |charge: &&KeyCharge| now.saturating_sub(charge.at) < WINDOW;
        let recent = || {
            let charges = charged.into_iter().flatten().rev();
            charges.take_while(is_recent)
        };
        if recent().any(|charge| charge.key == key) {
            return Ok(());
        }
        if recent().count() >= MAX_NEW_KEYS
            || charged.map_or(0, VecDeque::len) >= MAX_KEYS_OF_LIFETIME
        {
            return Err(TooManyNewKeys::OfNamespace);
        }
        if self.charges.len() >= MAX_CHARGES && !self.forget_first(now, WINDOW) {
            return if is_listed {
                Ok(())
            } else {
                Err(TooManyNewKeys::OfAll)
            };
        }
        let known = self.namespaces.get_key_value(namespace);
        let namespace = known.map_or_else(|| namespace.into(), |(known, _)| known.clone());
        self.charges.push_back((now, namespace.clone()));
        let charges = self.namespaces.entry(namespace).or_default();
        charges.push_back(KeyCharge { at: now, key });
        Ok(())
    }

    fn forget_old(&mut self, now: Duration) {
        while self.forget_first(now, LIFETIME) {}
    }

    /// Forgets the oldest charge if it has this age.
    fn forget_first(&mut self, now: Duration, age: Duration) -> bool {
        let Some((_, namespace)) = self
            .charges
            .pop_front_if(|(at, _)| now.saturating_sub(*at) >= age)
        else {
            return false;
        };
        if let Some(charges) = self.namespaces.get_mut(&namespace) {
            charges.pop_front();
            if charges.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::identity::Identity;
    use crate::image::Endpoint;

    const START: Duration = Duration::from_secs(1000);

    fn key(number: usize) -> TokenKey {
        TokenKey {
            identity: Identity::Ambient,
            region: format!("land-{number}").into(),
            endpoint: Endpoint::Standard,
        }
    }

    #[test]
    fn cause_states_the_quota() {
        let (minutes, hours) = (WINDOW.as_secs() / 60, LIFETIME.as_secs() / 3600);
        let limit = format!(
            "({MAX_NEW_KEYS} in {minutes} minutes or {MAX_KEYS_OF_LIFETIME} in {hours} hours)"
        );
        assert!(Cause::TooManyTokens.sentence().contains(&limit), "{limit}");
    }

    #[test]
    fn quota_is_full_until_its_window_ends() {
        let mut quota = KeyQuota::default();
        for number in 0..16 {
            let now = START + Duration::from_secs(number);
            let key = key(usize::try_from(number).unwrap());
            assert_eq!(quota.charge("team", &key, false, now), Ok(()));
        }
        let just_before = START + WINDOW - Duration::from_nanos(1);
        let next = key(16);
        assert_eq!(
            quota.charge("team", &next, false, just_before),
            Err(TooManyNewKeys::OfNamespace)
        );
        assert_eq!(quota.charge("team", &next, false, START + WINDOW), Ok(()));
        // One charge left, and one came.
        let one_more = quota.charge("team", &key(17), false, START + WINDOW);
        assert_eq!(one_more, Err(TooManyNewKeys::OfNamespace));
    }

    #[test]
    fn same_key_is_charged_once_in_ten_minutes() {
        let mut quota = KeyQuota::default();
        for _ in 0..100 {
            assert_eq!(quota.charge("team", &key(0), false, START), Ok(()));
        }
        assert_eq!(quota.namespaces["team"].len(), 1);
        assert_eq!(quota.charge("team", &key(0), false, START + WINDOW), Ok(()));
        assert_eq!(quota.namespaces["team"].len(), 2);
    }

    #[test]
    fn namespace_brings_at_most_128_keys_in_twelve_hours() {
        let mut quota = KeyQuota::default();
        let mut now = START;
        for number in 0..128 {
            if number % 16 == 0 {
                now += WINDOW;
            }
            assert_eq!(
                quota.charge("team", &key(number), false, now),
                Ok(()),
                "{number}"
            );
        }
        now += WINDOW;
        assert_eq!(
            quota.charge("team", &key(128), false, now),
            Err(TooManyNewKeys::OfNamespace)
        );
        let first_left = START + WINDOW + LIFETIME;
        assert_eq!(quota.charge("team", &key(128), false, first_left), Ok(()));
    }

    #[test]
    fn full_quota_of_one_namespace_limits_no_other() {
        let mut quota = KeyQuota::default();
        let mut number = 0;
        while quota.charge("hostile", &key(number), false, START).is_ok() {
            number += 1;
        }
        assert_eq!(quota.charge("team", &key(number), false, START), Ok(()));
    }

    /// As many namespaces as it takes bring sixteen keys each.
    fn flooded(now: Duration) -> KeyQuota {
        let mut quota = KeyQuota::default();
        for number in 0..MAX_CHARGES {
            let namespace = format!("hostile-{}", number / MAX_NEW_KEYS);
            assert_eq!(quota.charge(&namespace, &key(number), false, now), Ok(()));
        }
        quota
    }

    #[test]
    fn charges_of_all_namespaces_are_limited() {
        let mut quota = flooded(START);
        let just_before = START + WINDOW - Duration::from_nanos(1);
        let invented = quota.charge("team", &key(0), false, just_before);
        assert_eq!(invented, Err(TooManyNewKeys::OfAll));
        assert_eq!(quota.charge("team", &key(0), true, just_before), Ok(()));
        assert_eq!(quota.charges.len(), MAX_CHARGES);
        // The quota of the namespace comes first, also for a region that AWS documents.
        let hostile = quota.charge("hostile-0", &key(MAX_CHARGES), true, just_before);
        assert_eq!(hostile, Err(TooManyNewKeys::OfNamespace));
    }

    #[test]
    fn full_memory_forgets_the_oldest_charge() {
        let mut quota = flooded(START);
        let now = START + WINDOW;
        for number in 0..MAX_NEW_KEYS {
            assert_eq!(quota.charge("team", &key(number), false, now), Ok(()));
        }
        assert!(!quota.namespaces.contains_key("hostile-0"));
        assert_eq!(quota.charges.len(), MAX_CHARGES);
        let further = quota.charge("team", &key(MAX_NEW_KEYS), false, now);
        assert_eq!(further, Err(TooManyNewKeys::OfNamespace));
    }

    #[test]
    fn namespaces_are_forgotten_with_their_charges() {
        let mut quota = KeyQuota::default();
        for number in 0..100 {
            let namespace = number.to_string();
            quota
                .charge(&namespace, &key(number), false, START)
                .unwrap();
        }
        quota
            .charge("team", &key(0), false, START + LIFETIME)
            .unwrap();
        assert_eq!((quota.namespaces.len(), quota.charges.len()), (1, 1));
    }

    #[test]
    fn refusal_states_numbers_and_windows() {
        assert_eq!(
            TooManyNewKeys::OfNamespace.to_string(),
            "the namespace brought 16 new regions within 600 s, or 128 within 43200 s"
        );
        assert_eq!(
            TooManyNewKeys::OfAll.to_string(),
            "all namespaces brought 32768 new regions within 600 s"
        );
    }
}
