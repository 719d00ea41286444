use super::*;

use proptest::prelude::*;
use serde_json::{Value, json};

fn fields(fields: Vec<(&'static str, Keep)>) -> Keep {
    let fields = fields.into_iter();
    Keep::Fields(fields.map(|(name, keep)| (name, Arc::new(keep))).collect())
}

fn each(keep: Keep) -> Keep {
    Keep::Each(Arc::new(keep))
}

fn item(keep: Keep, most: usize) -> Keep {
    Keep::Item(Arc::new(keep), most)
}

/// What is left of a text that arrives in pieces of this size.
fn sifted(keep: &Arc<Keep>, text: &str, size: usize) -> String {
    let mut sieve = Sieve::new(keep.clone());
    let pieces = text.as_bytes().chunks(size);
    let kept: Vec<u8> = pieces
        .flat_map(|piece| sieve.push(piece).unwrap())
        .collect();
    String::from_utf8(kept).unwrap()
}

/// What is left of a value, in pieces of any size the same.
fn left(keep: Keep, value: &Value) -> Value {
    let (keep, text) = (Arc::new(keep), value.to_string());
    let whole = sifted(&keep, &text, usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(sifted(&keep, &text, size), whole, "{size}");
    }
    serde_json::from_str(&whole).unwrap_or_else(|error| panic!("{whole}: {error}"))
}

#[test]
fn only_listed_fields_stay() {
    let keep = fields(vec![
        ("a", Keep::Whole(64)),
        ("b", fields(vec![("c", Keep::Whole(64))])),
        ("none", Keep::Whole(64)),
    ]);
    let value = json!({
        "z": {"deep": [1, {"a": "}\"]\\"}]},
        "a": [1, -2.5e3, true, null, "x\"y\\"],
        "b": {"c": {"d": "{["}, "e": "f"},
        "aa": 1,
    });
    let wanted = json!({ "a": [1, -2.5e3, true, null, "x\"y\\"], "b": {"c": {"d": "{["}} });
    assert_eq!(left(keep, &value), wanted);
}

#[test]
fn value_beyond_its_limit_is_left_out() {
    let keep = || fields(vec![("a", Keep::Whole(5)), ("b", Keep::Whole(5))]);
    assert_eq!(
        left(keep(), &json!({"a": "abc", "b": "abcd"})),
        json!({"a": "abc"})
    );
    assert_eq!(
        left(keep(), &json!({"a": "abcd", "b": 12345})),
        json!({"b": 12345})
    );
    assert_eq!(
        left(keep(), &json!({"a": [1, 2, 3], "b": {}})),
        json!({"b": {}})
    );
}

#[test]
fn object_of_which_nothing_is_kept_is_left_out() {
    let element = fields(vec![
        ("manager", Keep::Beside(64)),
        ("owns", fields(vec![("data", Keep::Presence)])),
    ]);
    let keep = item(
        fields(vec![("list", each(element)), ("none", fields(vec![]))]),
        1000,
    );
    let value = json!({
        "none": {"a": 1},
        "list": [{"manager": "a", "owns": {"type": {}}}, {}, {"manager": "b", "owns": {"data": {"x": 1}}}, {"manager": "c"}],
    });
    let wanted = json!({ "list": [{"manager": "b", "owns": {"data": {}}}] });
    assert_eq!(left(keep, &value), wanted);
}

#[test]
fn value_of_another_type_stays_if_short() {
    let keep = || fields(vec![("a", fields(vec![])), ("b", each(Keep::Whole(9)))]);
    let short = json!({"a": "text", "b": null});
    assert_eq!(left(keep(), &short), short);
    let long = json!({"a": "x".repeat(MAX_ODD_BYTES), "b": {"c": vec![0; 1000]}});
    assert_eq!(left(keep(), &long), json!({}));
}

#[test]
fn only_compared_texts_stay() {
    let keep = || {
        let name = Keep::OneOf(vec!["pull".to_owned()]);
        item(
            fields(vec![("list", each(fields(vec![("name", name)])))]),
            1000,
        )
    };
    let mut names = vec![json!({"name": "other"}); 100_000];
    names.push(json!({"name": "pull"}));
    names.push(json!({"name": "pull2"}));
    names.push(json!({"name": ["pull"]}));
    names.push(json!({"name": "x".repeat(10_000)}));
    let wanted = json!({"list": [{"name": "pull"}]});
    assert_eq!(left(keep(), &json!({"list": names})), wanted);
    assert_eq!(left(keep(), &json!({"list": []})), json!({"list": []}));
}

#[test]
fn starred_fields_and_elements_share_the_room_of_the_item() {
    let labels = fields(vec![("own", Keep::Whole(64)), ("*", Keep::Whole(64))]);
    let keep = || {
        let list = each(Keep::Whole(64));
        let one = fields(vec![
            ("labels", labels),
            ("list", list),
            ("end", Keep::Whole(64)),
        ]);
        each(item(one, 40))
    };
    let many: Vec<String> = (0..100).map(|number| format!("k{number:02}")).collect();
    let mut labels: serde_json::Map<String, Value> =
        many.iter().map(|name| (name.clone(), json!("v"))).collect();
    labels.insert("own".to_owned(), json!("mine"));
    let one = json!({"labels": labels, "list": many, "end": 1});
    let left = left(keep(), &json!([one, one]));
    // Each item has the same room, and what is listed by name is there in any case.
    assert_eq!(left[0], left[1]);
    assert_eq!(left[0]["end"], 1);
    assert_eq!(left[0]["labels"]["own"], "mine");
    let starred = left[0]["labels"].as_object().unwrap().len() - 1;
    assert!((1..=5).contains(&starred), "{starred}");
    assert_eq!(left[0]["list"], json!([]));
}

#[test]
fn each_value_ends_in_a_line_break() {
    let keep = Arc::new(fields(vec![("a", Keep::Whole(9))]));
    let text = "{\"a\":1,\"b\":2}\n \n{\"b\":[{}]}{\"a\":3}";
    for size in [1, 5, usize::MAX] {
        assert_eq!(sifted(&keep, text, size), "{\"a\":1}\n{}\n{\"a\":3}\n");
    }
}

#[test]
fn items_of_a_list_leave_one_by_one() {
    let pod = item(fields(vec![("name", Keep::Whole(64))]), 0);
    let keep = Arc::new(fields(vec![("items", each(pod))]));
    let mut sieve = Sieve::new(keep);
    let mut kept = sieve
        .push(b"{\"kind\":\"List\",\"items\":[{\"name\":\"a\",\"x\":\"")
        .unwrap();
    assert!(kept.is_empty());
    kept.extend(sieve.push(b"\"},{\"name\":\"b").unwrap());
    assert_eq!(kept, b"{\"items\":[{\"name\":\"a\"}");
    kept.extend(sieve.push(b"\",\"x\":[]}],\"y\":1}").unwrap());
    assert_eq!(kept, b"{\"items\":[{\"name\":\"a\"},{\"name\":\"b\"}]}\n");
}

/// The fault: ten ServiceAccounts of 3 MB took a replica beyond its memory limit.
#[test]
fn item_of_any_size_takes_little_memory() {
    let name = Keep::OneOf(vec!["pull".to_owned()]);
    let account = fields(vec![
        ("name", Keep::Whole(300)),
        ("note", Keep::Whole(300)),
        ("imagePullSecrets", each(fields(vec![("name", name)]))),
        ("labels", fields(vec![("*", Keep::Whole(64))])),
    ]);
    let keep = Arc::new(fields(vec![("items", each(item(account, 4096)))]));
    let mut sieve = Sieve::new(keep);
    let secrets: Vec<String> = (0..200_000)
        .map(|number| format!("{{\"name\":\"{number}\"}}"))
        .collect();
    let labels: Vec<String> = (0..50_000)
        .map(|number| format!("\"{number}\":\"\""))
        .collect();
    let account = format!(
        "{{\"name\":\"a\",\"note\":\"{}\",\"imagePullSecrets\":[{}],\"labels\":{{{}}}}}",
        "\\u003c".repeat(500_000),
        secrets.join(","),
        labels.join(","),
    );
    let list = format!("{{\"items\":[{}]}}", [account.as_str(); 5].join(","));
    let (mut kept, mut most) = (0, 0);
    for piece in list.as_bytes().chunks(16 * 1024) {
        kept += sieve.push(piece).unwrap().len();
        most = most.max(sieve.held_bytes());
    }
    assert!(list.len() > 30_000_000, "{}", list.len());
    assert!(kept < 5 * 6000, "{kept}");
    assert!(most < 32 * 1024, "{most}");
}

#[test]
fn other_bytes_than_json_are_refused() {
    for text in ["<html>", "{]", "{\"a\" 1}", "{1:2}", "]", "{\"items\":[}"] {
        let keep = Arc::new(fields(vec![
            ("a", Keep::Whole(9)),
            ("items", each(Keep::Whole(9))),
        ]));
        assert_eq!(
            Sieve::new(keep).push(text.as_bytes()),
            Err(NotJson),
            "{text}"
        );
    }
}

/// Any JSON.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\{}\\[\\],: \u{e9}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 5, |inner| {
        let names = prop::sample::select(vec!["a", "b", "c", "d", "e"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

/// The same, decided on the parsed value: `a` as it stands, `b.c` and the `d` of each element of `e`.
fn expected(value: &Value) -> Value {
    let Value::Object(all) = value else {
        return value.clone();
    };
    let mut kept = serde_json::Map::new();
    if let Some(a) = all.get("a") {
        kept.insert("a".to_owned(), a.clone());
    }
    match all.get("b") {
        Some(Value::Object(b)) => {
            if let Some(c) = b.get("c") {
                kept.insert("b".to_owned(), json!({ "c": c }));
            }
        }
        Some(other) => {
            kept.insert("b".to_owned(), other.clone());
        }
        None => {}
    }
    match all.get("e") {
        Some(Value::Array(list)) => {
            let elements = list.iter().filter_map(|element| match element {
                Value::Object(fields) => fields.get("d").map(|d| json!({ "d": d })),
                other => Some(other.clone()),
            });
            kept.insert("e".to_owned(), elements.collect());
        }
        Some(other) => {
            kept.insert("e".to_owned(), other.clone());
        }
        None => {}
    }
    Value::Object(kept)
}

proptest! {
    #[test]
    fn sieve_keeps_what_a_parser_would(value in values(), size in 1_usize..40) {
        let most = 1 << 20;
        let text = value.to_string();
        // Values of another type than expected have a limit of their own.
        prop_assume!(text.len() < MAX_ODD_BYTES);
        let keep = item(
            fields(vec![
                ("a", Keep::Whole(most)),
                ("b", fields(vec![("c", Keep::Whole(most))])),
                ("e", each(fields(vec![("d", Keep::Whole(most))]))),
            ]),
            most,
        );
        let kept = sifted(&Arc::new(keep), &format!("{text}\n"), size);
        prop_assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), expected(&value));
    }

    #[test]
    fn no_bytes_break_the_sieve(bytes in any::<Vec<u8>>(), text in "[{}\\[\\]\",:ab0\\\\ ]{0,80}", size in 1_usize..9) {
        let keep = Arc::new(item(fields(vec![("a", each(fields(vec![("*", Keep::Whole(9))])))]), 99));
        for input in [&bytes[..], text.as_bytes()] {
            let mut sieve = Sieve::new(keep.clone());
            for piece in input.chunks(size) {
                if sieve.push(piece).is_err() {
                    break;
                }
            }
        }
    }
}
