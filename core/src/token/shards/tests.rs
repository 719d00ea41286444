use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;
use crate::identity::{AssumeRole, Identity};
use crate::image::Endpoint;
use crate::token::stored::{StoreChanges, changes, decode};

/// The limit of the API server for the data of a Secret.
const MAX_SECRET_BYTES: usize = 1_048_576;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn key(number: usize) -> TokenKey {
    TokenKey {
        identity: Identity::Role(Arc::new(AssumeRole {
            role_arn: format!("arn:aws:iam::123456789012:role/a-path/of-tenants/tenant-{number}"),
            external_id: Some("a-tenant-s-external-id".to_owned()),
            session_name: None,
        })),
        region: "eu-central-1".into(),
        endpoint: Endpoint::Standard,
    }
}

/// A token of this many bytes in base64, which expires after this many seconds.
fn token(bytes: usize, expires_at: i64) -> Token {
    let text = BASE64_STANDARD.encode(format!("AWS:{}", "x".repeat(bytes / 4 * 3 - 4)));
    let expires_at = now() + SignedDuration::from_secs(expires_at);
    Token::new(text, now(), Some(expires_at)).unwrap()
}

/// The data of all Secrets.
#[derive(Clone, Default)]
struct Shards([BTreeMap<String, Vec<u8>>; NAMES.len()]);

impl Shards {
    fn entries(&self, shard: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let data = self.0[shard].iter();
        data.map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// What a replica sees.
    fn map(&self) -> ShardMap {
        let mut map = ShardMap::default();
        for shard in 0..NAMES.len() {
            let mut content = ShardContent::default();
            for (data_key, value) in self.entries(shard) {
                content.weigh(data_key.len() + value.len());
                if let Ok((key, token)) = decode(data_key, value) {
                    content.hold(&key, &token);
                }
            }
            map.replace(shard, content);
        }
        map
    }

    /// The best token of each key.
    fn union(&self) -> BTreeMap<TokenKey, Timestamp> {
        let mut union = BTreeMap::new();
        for shard in 0..NAMES.len() {
            for (data_key, value) in self.entries(shard) {
                let (key, token) = decode(data_key, value).unwrap();
                let best = union.entry(key).or_insert(token.expires_at);
                *best = token.expires_at.max(*best);
            }
        }
        union
    }

    fn put(&mut self, shard: usize, set: impl Iterator<Item = (String, Vec<u8>)>) {
        self.0[shard].extend(set);
    }

    /// Writes tokens as a replica does that saw the Secrets as `map`; the keys for which none has room.
    fn write_all(&mut self, map: &ShardMap, tokens: &BTreeMap<TokenKey, Token>) -> Vec<TokenKey> {
        let (mut full, mut homeless) = (FullShards::default(), Vec::new());
        let mut left: Vec<&TokenKey> = tokens.keys().collect();
        while !left.is_empty() {
            let mut by_shard: BTreeMap<usize, Vec<(&TokenKey, &Token)>> = BTreeMap::new();
            for key in left.drain(..) {
                match map.place(key, full) {
                    Some(shard) => by_shard.entry(shard).or_default().push((key, &tokens[key])),
                    None => homeless.push(key.clone()),
                }
            }
            for (shard, batch) in by_shard {
                let (StoreChanges { set, remove }, refused) =
                    changes(self.entries(shard), batch, room(shard), now());
                for data_key in remove {
                    self.0[shard].remove(&data_key);
                }
                let set = set.into_iter();
                let set = set.map(|(key, value)| (key, value.expose_secret().as_bytes().to_vec()));
                self.put(shard, set);
                full[shard] |= !refused.is_empty();
                let refused = refused.iter().filter_map(|key| tokens.get_key_value(key));
                left.extend(refused.map(|(key, _)| key));
            }
        }
        homeless
    }

    /// The same for one token: whether a Secret took it.
    fn write(&mut self, map: &ShardMap, key: &TokenKey, token: &Token) -> bool {
        let one = BTreeMap::from([(key.clone(), token.clone())]);
        self.write_all(map, &one).is_empty()
    }

    /// Writes one token as version 0.1 does: into the first Secret, which it keeps at 64 tokens.
    fn write_as_before(&mut self, key: &TokenKey, token: &Token) {
        let value = stored::encode(key, token);
        let value = value.expose_secret().as_bytes().to_vec();
        self.0[0].insert(data_key(key), value);
        while self.0[0].len() > 64 {
            let first = self
                .entries(0)
                .min_by_key(|(key, value)| decode(key, value).unwrap().1.expires_at)
                .map(|(key, _)| key.to_owned());
            self.0[0].remove(&first.unwrap());
        }
    }

    fn bytes(&self, shard: usize) -> usize {
        self.entries(shard)
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }
}

#[test]
fn small_installation_has_one_secret() {
    let mut shards = Shards::default();
    for number in 0..MAX_KEYS_OF_FIRST {
        assert!(shards.write(&shards.map(), &key(number), &token(400, 60)));
    }
    assert!(!shards.map().is_large());
    assert_eq!(shards.0[0].len(), MAX_KEYS_OF_FIRST);
    let next = key(MAX_KEYS_OF_FIRST);
    assert!(shards.write(&shards.map(), &next, &token(4000, 60)));
    assert!(shards.map().is_large());
    assert_eq!(shards.0[home(&next)].len(), 1);
}

/// Keys with these numbers, each with a token.
fn batch(
    numbers: std::ops::Range<usize>,
    bytes: usize,
    expires_at: i64,
) -> BTreeMap<TokenKey, Token> {
    let token = token(bytes, expires_at);
    numbers.map(|number| (key(number), token.clone())).collect()
}

#[test]
fn thousand_tokens_fit_and_are_spread() {
    let mut shards = Shards::default();
    for first in (0..1000).step_by(200) {
        let refused = shards.write_all(&shards.map(), &batch(first..first + 200, 4096, 60));
        assert!(refused.is_empty());
    }
    assert_eq!(shards.union().len(), 1000);
    for shard in 1..NAMES.len() {
        let (count, bytes) = (shards.0[shard].len(), shards.bytes(shard));
        assert!((100..190).contains(&count), "{count}");
        assert!(bytes <= MAX_SHARD_BYTES, "{bytes}");
    }
}

#[test]
fn full_shards_refuse_new_keys_and_renew_old_ones() {
    let mut shards = Shards::default();
    let mut count = 0;
    loop {
        let refused = shards.write_all(&shards.map(), &batch(count..count + 100, 12_000, 60));
        if !refused.is_empty() {
            break;
        }
        count += 100;
    }
    let before = shards.union().len();
    assert!(before > 500, "{before}");
    let refused = shards.write_all(&shards.map(), &batch(0..count, 12_000, 120));
    assert!(refused.is_empty());
    let union = shards.union();
    assert_eq!(union.len(), before);
    assert_eq!(union[&key(7)], now() + SignedDuration::from_secs(120));
    for shard in 0..NAMES.len() {
        assert!(shards.bytes(shard) <= MAX_SECRET_BYTES);
    }
}

/// Ten replicas place each key by what they saw first, when there was nothing.
#[test]
fn replica_with_old_view_finds_room() {
    let (mut shards, old) = (Shards::default(), ShardMap::default());
    for number in 0..100 {
        assert!(shards.write(&old, &key(number), &token(400, 60)));
    }
    assert_eq!(shards.union().len(), 100);
    assert_eq!(shards.0[0].len(), MAX_KEYS_OF_FIRST);
}

#[test]
fn key_of_older_version_is_renewed_in_place() {
    let mut shards = Shards::default();
    for number in 0..64 {
        shards.write_as_before(&key(number), &token(400, 60));
    }
    for number in 0..64 {
        assert!(shards.write(&shards.map(), &key(number), &token(400, 120)));
    }
    assert_eq!(shards.0[0].len(), 64);
    assert!(!shards.map().is_large());
}

#[test]
fn token_that_no_secret_holds_is_lacking() {
    let mut shards = Shards::default();
    for number in 0..40 {
        assert!(shards.write(&shards.map(), &key(number), &token(400, 60)));
    }
    // An older one in another Secret.
    let old = stored::encode(&key(39), &token(400, 30));
    let old = old.expose_secret().as_bytes().to_vec();
    shards.put(7, [(data_key(&key(39)), old)].into_iter());
    let held = |seconds| [(key(39), token(400, seconds)), (key(40), token(400, 60))];
    let lacking = |seconds| {
        let lacking = shards.map().lacking(held(seconds), now());
        lacking.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(lacking(60), [key(40)]);
    assert_eq!(lacking(61), [key(39), key(40)]);
}

#[test]
fn token_is_renewed_where_its_latest_lies() {
    let mut shards = Shards::default();
    for (shard, seconds) in [(0, 60), (3, 90), (5, 30)] {
        let value = stored::encode(&key(1), &token(400, seconds));
        let value = value.expose_secret().as_bytes().to_vec();
        shards.put(shard, [(data_key(&key(1)), value)].into_iter());
    }
    let mut full = [false; NAMES.len()];
    for shard in [3, 0, 5] {
        assert_eq!(shards.map().place(&key(1), full), Some(shard));
        full[shard] = true;
    }
    let home = home(&key(1));
    let next = shards.map().place(&key(1), full).unwrap();
    assert!(![0, 3, 5].contains(&next) && next >= 1, "{next} {home}");
    assert_eq!(shards.map().place(&key(1), [true; NAMES.len()]), None);
}

proptest! {
    /// Replicas of both versions write in any order, each by a view of any age. The new ones put back
    /// what they hold and no Secret has, as they do at each change. Then no token that a new replica
    /// held is lost, no Secret is too large, and the old replica finds no more than it keeps.
    #[test]
    fn two_versions_side_by_side_lose_no_token(
        writes in proptest::collection::vec((0..120_usize, 1..1000_i64, 0..4_u8), 1..200),
    ) {
        let mut shards = Shards::default();
        let mut view = ShardMap::default();
        let mut held: BTreeMap<TokenKey, Token> = BTreeMap::new();
        for (number, expires_at, kind) in writes {
            let (key, token) = (key(number), token(400, expires_at));
            match kind {
                0 => {
                    // Its own token, as far as it is better, by a live read.
                    let stored = shards.0[0].get(&data_key(&key)).cloned();
                    let stored = stored.and_then(|value| decode(&data_key(&key), &value).ok());
                    if stored.is_none_or(|(_, stored)| stored.expires_at < token.expires_at) {
                        shards.write_as_before(&key, &token);
                    }
                }
                kind => {
                    if kind == 1 {
                        view = shards.map();
                    }
                    prop_assert!(shards.write(&view, &key, &token));
                    let is_better = held.get(&key).is_none_or(|old| old.expires_at < token.expires_at);
                    if is_better {
                        held.insert(key, token);
                    }
                }
            }
        }
        let lacking = shards.map().lacking(held.clone(), now());
        for (key, token) in &lacking {
            prop_assert!(shards.write(&shards.map(), key, token));
        }
        let union = shards.union();
        for (key, token) in &held {
            prop_assert!(union[key] >= token.expires_at);
        }
        prop_assert!(shards.0[0].len() <= 64);
    }
}
