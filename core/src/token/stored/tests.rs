use super::*;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

type Data = BTreeMap<String, Vec<u8>>;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn token(text: &str, minted_at: i64, expires_at: i64) -> Token {
    let at = |second| now() + SignedDuration::from_secs(second);
    Token::new(
        BASE64_STANDARD.encode(format!("AWS:{text}")),
        at(minted_at),
        Some(at(expires_at)),
    )
    .unwrap()
}

fn key(region: &str) -> TokenKey {
    TokenKey {
        identity: Identity::Ambient,
        region: region.into(),
        endpoint: Endpoint::Standard,
    }
}

fn role(external_id: Option<&str>) -> Identity {
    Identity::Role(Arc::new(AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/puller".to_owned(),
        external_id: external_id.map(str::to_owned),
        session_name: None,
    }))
}

fn borrowed(data: &Data) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
}

const NO_LIMIT: ShardRoom = ShardRoom {
    max_keys: usize::MAX,
    max_bytes: usize::MAX,
};

/// The changes where all have room.
fn changes<'a>(
    data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    tokens: impl IntoIterator<Item = (&'a TokenKey, &'a Token)>,
    now: Timestamp,
) -> StoreChanges {
    let (changes, refused) = super::changes(data, tokens, NO_LIMIT, now);
    assert!(refused.is_empty());
    changes
}

/// Writes as the API server merges a patch.
fn write(data: &mut Data, tokens: &BTreeMap<TokenKey, Token>) {
    let refused = write_within(data, tokens, NO_LIMIT);
    assert!(refused.is_empty());
}

fn write_within(
    data: &mut Data,
    tokens: &BTreeMap<TokenKey, Token>,
    room: ShardRoom,
) -> Vec<TokenKey> {
    let (StoreChanges { set, remove }, refused) =
        super::changes(borrowed(data), tokens, room, now());
    for data_key in remove {
        assert!(data.remove(&data_key).is_some(), "{data_key}");
    }
    for (data_key, value) in set {
        data.insert(data_key, value.expose_secret().as_bytes().to_vec());
    }
    refused
}

fn ends(data: &Data) -> BTreeMap<TokenKey, (String, Timestamp)> {
    borrowed(data)
        .filter_map(|(key, value)| decode(key, value).ok())
        .map(|(key, token)| {
            let text = token.expose_authorization().to_owned();
            (key, (text, token.expires_at))
        })
        .collect()
}

fn data(tokens: &BTreeMap<TokenKey, Token>) -> Data {
    let mut data = Data::new();
    write(&mut data, tokens);
    data
}

#[test]
fn value_has_documented_form() {
    let (key, token) = (key("eu-central-1"), token("password", 0, 60));
    let value: serde_json::Value =
        serde_json::from_str(encode(&key, &token).expose_secret()).unwrap();
    assert_eq!(
        value,
        json!({
            "format": 1,
            "identity": "ambient",
            "region": "eu-central-1",
            "endpoint": "standard",
            "mintedAt": "2023-11-14T22:13:20Z",
            "expiresAt": "2023-11-14T22:14:20Z",
            "token": "QVdTOnBhc3N3b3Jk",
        })
    );
    // Replicas of two versions must find each other's tokens: these two data keys never change.
    assert_eq!(
        data_key(&key),
        "eu-central-1.fde3d232e52470976dfe735b4d15bff4"
    );
    let role = TokenKey {
        identity: role(Some("secret-handshake")),
        endpoint: Endpoint::DualStackFips,
        ..key
    };
    assert_eq!(
        data_key(&role),
        "eu-central-1.41379c789306b02a6a668e09a26f856d"
    );
}

#[test]
fn unknown_value_is_skipped() {
    let (key, token) = (key("eu-central-1"), token("password", 0, 60));
    let good: serde_json::Value =
        serde_json::from_str(encode(&key, &token).expose_secret()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut all = good.clone();
        all[field] = value;
        decode(&data_key(&key), all.to_string().as_bytes()).map(|(key, _)| key)
    };
    assert_eq!(with("fieldOfALaterVersion", json!({})).unwrap(), key);
    for (field, value, reason) in [
        ("format", json!(2), Unreadable::Format),
        ("format", json!("1"), Unreadable::Format),
        ("identity", json!("root"), Unreadable::Format),
        (
            "identity",
            json!({"assumeRole": {"roleArn": "x", "tags": {}}}),
            Unreadable::Format,
        ),
        ("endpoint", json!("carrier-pigeon"), Unreadable::Format),
        ("mintedAt", json!("yesterday"), Unreadable::Format),
        ("expiresAt", json!(null), Unreadable::Format),
        ("expiresAt", good["mintedAt"].clone(), Unreadable::Token),
        ("region", json!("eu-central-1/../x"), Unreadable::Token),
        ("region", json!(""), Unreadable::Token),
        ("region", json!("eu-central-2"), Unreadable::Misplaced),
        ("endpoint", json!("fips"), Unreadable::Misplaced),
        ("token", json!("password"), Unreadable::Token),
        ("token", json!(""), Unreadable::Token),
    ] {
        assert_eq!(with(field, value.clone()), Err(reason), "{field}: {value}");
    }
    for bytes in [
        b"".as_slice(),
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"{\"format\":1",
    ] {
        assert_eq!(
            decode(&data_key(&key), bytes).unwrap_err(),
            Unreadable::Format
        );
    }
}

#[test]
fn error_shows_no_value() {
    let value = br#"{"format": 1, "token": "QVdTOnBhc3N3b3Jk"}"#;
    let error = decode("x", value).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("QVd"));
    let changes = changes(
        std::iter::empty(),
        [(&key("eu-central-1"), &token("password", 0, 60))],
        now(),
    );
    assert!(!changes.is_empty() && !format!("{changes:?}").contains("QVd"));
}

#[test]
fn expired_token_goes_only_when_another_comes() {
    let old = BTreeMap::from([(key("eu-central-1"), token("old", -60, 1))]);
    let mut data = data(&old);
    let later = now() + SignedDuration::from_secs(2);
    let none = BTreeMap::new();
    assert!(changes(borrowed(&data), &none, later).is_empty());
    let dead = BTreeMap::from([(key("eu-north-1"), token("dead", -60, 1))]);
    assert!(changes(borrowed(&data), &dead, later).is_empty());
    let new = BTreeMap::from([(key("eu-west-1"), token("new", 0, 60))]);
    let out = changes(borrowed(&data), &new, later);
    assert_eq!(out.remove, [data_key(&key("eu-central-1"))]);
    assert!(out.set.contains_key(&data_key(&key("eu-west-1"))));
    // A successor under the same data key removes nothing.
    let next = BTreeMap::from([(key("eu-central-1"), token("next", 0, 60))]);
    write(&mut data, &next);
    assert_eq!(data.len(), 1);
}

#[test]
fn full_secret_refuses_new_key_and_keeps_old_ones() {
    let region = |number| key(&format!("eu-central-{number}"));
    let full: BTreeMap<_, _> = (0..32)
        .map(|number| (region(number), token("t", 0, 100 + number)))
        .collect();
    let mut data = data(&full);
    let bytes: usize = borrowed(&data)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let by_number = ShardRoom {
        max_keys: 32,
        ..NO_LIMIT
    };
    let by_bytes = ShardRoom {
        max_bytes: bytes,
        ..NO_LIMIT
    };
    for room in [by_number, by_bytes] {
        let new = BTreeMap::from([
            (region(3), token("renewed", 0, 5000)),
            (region(99), token("new", 0, 5000)),
        ]);
        assert_eq!(write_within(&mut data, &new, room), [region(99)]);
        let ends = ends(&data);
        assert_eq!(
            ends.keys().cloned().collect::<Vec<_>>(),
            full.keys().cloned().collect::<Vec<_>>()
        );
        assert_eq!(ends[&region(3)].1, now() + SignedDuration::from_secs(5000));
    }
}

#[test]
fn expired_and_impossible_tokens_make_room() {
    let day = 24 * 3600;
    let (dead, impossible) = (key("eu-central-1"), key("eu-central-2"));
    let mut data = Data::new();
    for (key, token) in [
        (&dead, token("dead", -60, 0)),
        (&impossible, token("odd", 0, 2 * day)),
    ] {
        let value = encode(key, &token);
        data.insert(data_key(key), value.expose_secret().as_bytes().to_vec());
    }
    let one = |name: &str| BTreeMap::from([(key(name), token(name, 0, 60))]);
    let room = ShardRoom {
        max_keys: 2,
        ..NO_LIMIT
    };
    assert!(write_within(&mut data, &one("us-east-1"), room).is_empty());
    assert!(!data.contains_key(&data_key(&dead)) && data.contains_key(&data_key(&impossible)));
    assert!(write_within(&mut data, &one("us-east-2"), room).is_empty());
    assert!(!data.contains_key(&data_key(&impossible)));
    assert_eq!(
        write_within(&mut data, &one("us-west-1"), room),
        [key("us-west-1")]
    );
    assert_eq!(data.len(), 2);
}

#[test]
fn implausible_expiry_gives_way() {
    let year = 365 * 24 * 3600;
    let mut data = data(&BTreeMap::from([(
        key("eu-central-1"),
        token("edited", 0, year),
    )]));
    let true_one = BTreeMap::from([(key("eu-central-1"), token("true", 0, 60))]);
    write(&mut data, &true_one);
    assert_eq!(
        ends(&data)[&key("eu-central-1")].1,
        now() + SignedDuration::from_secs(60)
    );
}

#[test]
fn deleted_token_goes_back_into_the_store() {
    let held = || [(key("eu-central-1"), token("held", 0, 60))];
    let out = lacking(&BTreeMap::new(), held(), now());
    assert_eq!(out.keys().collect::<Vec<_>>(), [&key("eu-central-1")]);
    // An expired or an implausible token does not.
    let (expired, implausible) = (token("x", -60, 0), token("y", 0, 24 * 3600 + 1));
    for token in [expired, implausible] {
        let held = [(key("eu-central-1"), token)];
        assert!(lacking(&BTreeMap::new(), held, now()).is_empty());
    }
}

/// Otherwise two replicas with two tokens would write by turns.
#[test]
fn only_later_expiry_replaces_stored_token() {
    let lacks = |stored: Token| {
        let key = || key("eu-central-1");
        let one = key();
        let stored = BTreeMap::from([(&one, Lifetime::from(&stored))]);
        let held = [(key(), token("held", 0, 60))];
        !lacking(&stored, held, now()).is_empty()
    };
    assert!(lacks(token("sooner", 0, 59)));
    assert!(!lacks(token("same", 0, 60)));
    assert!(!lacks(token("later", 0, 61)));
    // A clock that is ahead minted it, and its expiry is later.
    assert!(!lacks(token("future", 3600, 3660)));
    assert!(lacks(token("implausible", 0, 24 * 3600 + 1)));
}

fn keys() -> impl Strategy<Value = TokenKey> {
    let identity = prop_oneof![
        Just(Identity::Ambient),
        Just(role(None)),
        Just(role(Some("one"))),
        Just(role(Some("other"))),
    ];
    let endpoint = prop_oneof![
        Just(Endpoint::Standard),
        Just(Endpoint::Fips),
        Just(Endpoint::DualStack),
        Just(Endpoint::DualStackFips),
    ];
    (identity, "[a-z]{2,4}-[a-z]{1,10}-[0-9]", endpoint).prop_map(|(identity, region, endpoint)| {
        TokenKey {
            identity,
            region: region.into(),
            endpoint,
        }
    })
}

/// Few keys, so that batches share some; no two tokens expire in the same second.
fn batches() -> impl Strategy<Value = Vec<BTreeMap<TokenKey, Token>>> {
    let region = prop_oneof![Just("eu-central-1"), Just("us-east-1"), Just("us-west-2")];
    let one = proptest::collection::btree_map(region.prop_map(key), -100_000..80_000_i64, 0..4);
    proptest::collection::vec(one, 1..5).prop_map(|batches| {
        let mut number = 0;
        let mut numbered = |end: i64| {
            number += 1;
            token(&number.to_string(), -200_000, end - end % 100 + number)
        };
        batches
            .into_iter()
            .map(|batch| {
                batch
                    .into_iter()
                    .map(|(key, end)| (key, numbered(end)))
                    .collect()
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn encoded_token_decodes_unchanged(key in keys(), text in "[ -~]{1,40}", minted_at in -100_000..0_i64, expires_at in 1..100_000_i64) {
        let token = token(&text, minted_at, expires_at);
        let (same_key, same) = decode(&data_key(&key), encode(&key, &token).expose_secret().as_bytes()).unwrap();
        prop_assert_eq!(same_key, key);
        prop_assert_eq!(same.expose_authorization(), token.expose_authorization());
        prop_assert_eq!((same.minted_at, same.expires_at), (token.minted_at, token.expires_at));
    }

    #[test]
    fn data_key_is_unique_and_valid(one in keys(), other in keys()) {
        let data_key = data_key(&one);
        prop_assert_eq!(data_key == self::data_key(&other), one == other);
        prop_assert!(data_key.len() <= 253);
        prop_assert!(data_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)));
    }

    #[test]
    fn random_bytes_are_refused(data_key in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&data_key, &bytes).is_err());
    }

    #[test]
    fn edited_value_never_changes_key(at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let key = key("eu-central-1");
        let mut value = encode(&key, &token("password", 0, 60)).expose_secret().as_bytes().to_vec();
        let at = at.index(value.len());
        if cut { value.truncate(at); } else { value[at] = byte; }
        if let Ok((read, _)) = decode(&data_key(&key), &value) {
            prop_assert_eq!(read, key);
        }
    }

    /// Replicas write their tokens in any order, some twice: the store ends with the token of each
    /// key that expires last.
    #[test]
    fn later_expiry_wins_in_any_order(batches in batches(), shift in any::<proptest::sample::Index>()) {
        let mut forth = Data::new();
        for batch in &batches { write(&mut forth, batch); }
        let mut otherwise = Data::new();
        let shift = shift.index(batches.len());
        for batch in batches[shift..].iter().rev().chain(&batches) { write(&mut otherwise, batch); }
        let mut wanted: BTreeMap<TokenKey, (String, Timestamp)> = BTreeMap::new();
        for (key, token) in batches.iter().flatten().filter(|(_, token)| token.expires_at > now()) {
            if wanted.get(key).is_none_or(|(_, end)| token.expires_at > *end) {
                wanted.insert(key.clone(), (token.expose_authorization().to_owned(), token.expires_at));
            }
        }
        prop_assert_eq!(&ends(&forth), &wanted);
        prop_assert_eq!(&ends(&otherwise), &wanted);
        // A replica that sees that store writes nothing more.
        for batch in &batches { prop_assert!(changes(borrowed(&forth), batch, now()).is_empty()); }
    }

    #[test]
    fn unknown_value_survives_writes(batches in batches(), name in "[a-z.]{1,20}", bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut data = Data::from([(name.clone(), bytes.clone())]);
        for batch in &batches { write(&mut data, batch); }
        prop_assert_eq!(data.get(&name), Some(&bytes));
    }
}
