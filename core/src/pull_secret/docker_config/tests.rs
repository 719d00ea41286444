use super::*;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

const ECR: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

fn parse(value: &Value) -> Result<DockerConfig, Malformed> {
    DockerConfig::parse(value.to_string().as_bytes())
}

fn with_entry(entry: Value) -> Result<DockerConfig, Malformed> {
    parse(&json!({"auths": {"host": entry}}))
}

fn base64(pair: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(pair)
}

#[test]
fn config_valid_for_the_kubelet_is_parsed() {
    for (text, hosts) in [
        ("{}", 0),
        ("null", 0),
        (" {\"auths\": null}\n", 0),
        ("{\"auths\": {}}", 0),
        ("{\"auths\": {\"a\": null, \"b\": {}}}", 2),
        ("{\"credsStore\": \"x\", \"HttpHeaders\": null}", 0),
        ("{\"HttpHeaders\": {\"User-Agent\": \"x\", \"y\": null}}", 0),
    ] {
        let config = DockerConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.hosts().count(), hosts, "{text}");
    }
    for entry in [
        json!(null),
        json!({}),
        json!({"auth": null, "username": null, "password": null, "email": null}),
        json!({"auth": ""}),
        json!({"username": "joe", "password": "x", "email": "joe@example.com"}),
        json!({"auth": base64("joe:x")}),
        json!({"auth": base64("joe:x:y")}),
        json!({"auth": base64(":")}),
        // Go accepts a text without padding, with line breaks, with trailing bits, or not in UTF-8.
        json!({"auth": BASE64_STANDARD_NO_PAD.encode("joe:pass")}),
        json!({"auth": "am9l\nOnBh\r\nc3M="}),
        json!({"auth": "am9lOnBhc3N="}),
        json!({"auth": base64(b"joe:\xff")}),
        json!({"auth": base64("joe:x"), "identitytoken": 7, "future": {}}),
    ] {
        with_entry(entry.clone()).unwrap_or_else(|error| panic!("{entry}: {error}"));
    }
}

#[test]
fn config_that_breaks_the_keyring_is_malformed() {
    for text in [
        "",
        " ",
        "{",
        "[]",
        "\"{}\"",
        "7",
        "{\"auths\": {}} x",
        "\u{feff}{}",
    ] {
        assert_eq!(
            DockerConfig::parse(text.as_bytes()),
            Err(Malformed::Json),
            "{text}"
        );
    }
    assert_eq!(
        DockerConfig::parse(b"{\"a\": \"\xff\"}"),
        Err(Malformed::Json)
    );
    for auths in [
        json!([]),
        json!("x"),
        json!(7),
        json!({"host": []}),
        json!({"host": "x"}),
        json!({"host": false}),
    ] {
        assert_eq!(
            parse(&json!({"auths": auths})),
            Err(Malformed::Auths),
            "{auths}"
        );
    }
    for headers in [
        json!([]),
        json!("x"),
        json!({"User-Agent": 7}),
        json!({"User-Agent": ["x"]}),
    ] {
        assert_eq!(
            parse(&json!({"HttpHeaders": headers})),
            Err(Malformed::Headers),
            "{headers}"
        );
    }
    for entry in [
        json!({"auth": "%%%"}),
        json!({"auth": base64("no colon")}),
        json!({"auth": "="}),
        json!({"auth": "am9lOng= "}),
        json!({"auth": "am9lOnhYWQ="}),
        json!({"auth": "am9lOng=="}),
        json!({"auth": "am9l_nBh"}),
        json!({"auth": 7}),
        json!({"username": 7}),
        json!({"password": []}),
        json!({"email": {}}),
    ] {
        assert_eq!(
            with_entry(entry.clone()),
            Err(Malformed::Entry("host".to_owned())),
            "{entry}"
        );
    }
}

#[test]
fn error_names_the_place_but_not_the_value() {
    let text = with_entry(json!({"auth": "hunter2", "password": "hunter2"})).unwrap_err();
    assert_eq!(text.to_string(), "the entry for `host` does not decode");
    let config = parse(&json!({"auths": {"host": {"password": "hunter2"}}, "hunter2": 1})).unwrap();
    assert_eq!(format!("{config:?}"), "{\"host\"}");
}

#[test]
fn hosts_are_sorted() {
    let config =
        parse(&json!({"auths": {"b": {}, "a": {"auth": base64("x:y")}, "c": {}}})).unwrap();
    assert_eq!(config.hosts().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(config.auth("a"), Some(base64("x:y").as_str()));
    assert_eq!(config.auth("b"), None);
    assert_eq!(config.auth("d"), None);
}

/// An old user or password beside a new `auth` would contradict it in other readers.
#[test]
fn new_auth_replaces_the_whole_entry() {
    let mut config = parse(&json!({"auths": {
        "host": {"auth": base64("a:b"), "username": "a", "password": "b", "email": "c", "future": 1},
        "other": {"username": "a"},
    }}))
    .unwrap();
    config.set_auth("host", "QVdTOng=");
    config.set_auth("new", "QVdTOng=");
    let written: Value = serde_json::from_str(&config.to_json()).unwrap();
    assert_eq!(
        written,
        json!({"auths": {"host": {"auth": "QVdTOng="}, "new": {"auth": "QVdTOng="}, "other": {"username": "a"}}})
    );
}

#[test]
fn ecr_only_config_has_only_private_ecr_hosts() {
    let of = |hosts: &[&str]| {
        let mut config = DockerConfig::default();
        for host in hosts {
            config.set_auth(host, "QVdTOng=");
        }
        config.is_ecr_only()
    };
    let secure = format!("{ECR}:443");
    assert!(of(&[ECR]));
    assert!(of(&[ECR, &secure]));
    assert!(!of(&[]));
    assert!(!of(&["ghcr.io"]));
    assert!(!of(&[ECR, "ghcr.io"]));
    assert!(!of(&[ECR, "public.ecr.aws"]));
    // Public CronJobs write `--docker-server=https://HOST`.
    for alias in [
        format!("https://{ECR}"),
        format!("http://{ECR}/"),
        format!("https://{ECR}/v1/"),
    ] {
        assert!(of(&[&alias]), "{alias}");
        assert!(!of(&[&alias, "https://ghcr.io"]), "{alias}");
    }
    assert!(!of(&["https://public.ecr.aws"]));
    // A path may be another's own login.
    assert!(!of(&[&format!("{ECR}/team")]));
    assert!(!of(&["*.dkr.ecr.eu-central-1.amazonaws.com"]));
}

#[test]
fn aliases_go_and_other_keys_stay() {
    let keys = [
        ECR.to_owned(),
        format!("https://{ECR}"),
        format!("{ECR}/"),
        format!("{ECR}/team"),
        format!("https://{ECR}:443"),
        "https://ghcr.io".to_owned(),
    ];
    let of = |keys: &[String]| {
        let mut config = DockerConfig::default();
        keys.iter().for_each(|key| config.set_auth(key, "QVdTOng="));
        config
    };
    let mut config = of(&keys);
    config.drop_aliases(|host| host == ECR);
    assert_eq!(
        config,
        of(&[
            keys[0].clone(),
            keys[3].clone(),
            keys[4].clone(),
            keys[5].clone()
        ])
    );
    let mut config = of(&keys);
    config.remove(ECR);
    assert_eq!(config, of(&keys[3..]));
    let registries: Vec<String> = of(&keys)
        .registries()
        .map(|it| it.host().to_owned())
        .collect();
    assert_eq!(registries.iter().filter(|host| *host == ECR).count(), 3);
    assert_eq!(registries.len(), 4);
}

#[test]
fn legacy_content_is_malformed_where_the_kubelet_says_so() {
    let good = json!({"auth": base64("AWS:x")});
    for (text, is_malformed) in [
        (json!({ECR: good}).to_string(), false),
        (json!({ECR: {"auth": "%%%"}}).to_string(), true),
        (json!({ECR: "text"}).to_string(), true),
        (json!({ECR: {"username": 1}}).to_string(), true),
        (json!({ECR: null}).to_string(), false),
        // No such key here: it is a host with a wrong entry.
        (json!({"auths": {ECR: good}}).to_string(), false),
        (json!({"auths": [ECR]}).to_string(), true),
        ("{}".to_owned(), false),
        ("null".to_owned(), false),
        ("[]".to_owned(), true),
        ("{".to_owned(), true),
        (String::new(), false),
    ] {
        assert_eq!(
            DockerConfig::is_malformed_legacy(text.as_bytes()),
            is_malformed,
            "{text}"
        );
    }
}

#[test]
fn ecr_credentials_are_recognised() {
    for (entry, wanted) in [
        (json!({"auth": base64("AWS:x")}), true),
        (json!({"auth": base64("joe:x")}), false),
        (json!({"auth": base64("AWS:")}), false),
        // `auth` decides, as in the kubelet.
        (
            json!({"auth": base64("joe:x"), "username": "AWS", "password": "x"}),
            false,
        ),
        (
            json!({"auth": base64("AWS:x"), "username": "joe", "password": ""}),
            true,
        ),
        (
            json!({"auth": "", "username": "AWS", "password": "x"}),
            true,
        ),
        (json!({"username": "AWS", "password": "x"}), true),
        (json!({"username": "AWS", "password": ""}), false),
        (json!({"username": "AWS"}), false),
        (json!({"username": "joe", "password": "x"}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        let config = with_entry(entry.clone()).unwrap();
        assert_eq!(config.has_ecr_credentials("host"), wanted, "{entry}");
        assert!(!config.has_ecr_credentials("elsewhere"));
    }
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9+/=:]{0,8}".prop_map(Value::from),
        "[a-z]{0,3}:[a-z]{0,3}".prop_map(|pair| Value::from(base64(pair))),
    ];
    let keys = select(vec![
        "auths",
        "auth",
        "username",
        "password",
        "email",
        "HttpHeaders",
        "host",
        ECR,
    ]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(keys.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// As [`json_values`], but with the shape of a docker config, so that many of them are valid.
fn configs() -> impl Strategy<Value = Value> {
    let entry = prop_oneof![
        2 => proptest::collection::btree_map(
            select(vec!["auth", "username", "password", "future"]),
            "[a-z]{0,3}:[a-z]{0,3}".prop_map(base64),
            0..3,
        ).prop_map(|map| json!(map)),
        1 => json_values(),
    ];
    let auths = proptest::collection::btree_map("[a-z.]{1,5}", entry, 0..4);
    (auths, json_values()).prop_map(|(auths, other)| json!({"auths": auths, "future": other}))
}

/// The fast float parser of `serde_json` can be wrong in the last digit.
#[test]
fn numbers_round_trip_exactly() {
    let text = r#"{"auths":{"x":{"a":-5.133620894288347e224,"b":0.1,"c":18446744073709551615}}}"#;
    let config = DockerConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config.to_json(), text.replace("e224", "e+224"));
}

proptest! {
    #[test]
    fn parser_never_panics(bytes in any::<Vec<u8>>(), value in json_values()) {
        let _ = DockerConfig::parse(&bytes);
        let _ = parse(&value);
    }

    #[test]
    fn parsed_config_round_trips(value in prop_oneof![json_values(), configs()]) {
        let Ok(config) = parse(&value) else { return Ok(()) };
        let again = DockerConfig::parse(config.to_json().as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&config));
        prop_assert_eq!(again.unwrap().to_json(), config.to_json());
    }

    #[test]
    fn new_auth_changes_nothing_else(value in configs(), host in "[a-z.]{1,5}", password in "[a-z]{1,3}") {
        let Ok(mut config) = parse(&value) else { return Ok(()) };
        let auth = base64(format!("AWS:{password}"));
        let mut wanted: Value = serde_json::from_str(&config.to_json()).unwrap();
        wanted["auths"][host.as_str()] = json!({"auth": auth});
        config.set_auth(&host, &auth);
        let written: Value = serde_json::from_str(&config.to_json()).unwrap();
        prop_assert_eq!(written, wanted);
        prop_assert!(config.has_ecr_credentials(&host));
        prop_assert!(DockerConfig::parse(config.to_json().as_bytes()).is_ok());
    }
}
