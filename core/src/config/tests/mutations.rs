//! A thousand changed files: each loads and comes back the same, or has one error that names the place.

use serde_json::{Map, Value, json};

use super::Config;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let sides = u64::try_from(sides.max(1)).unwrap();
        usize::try_from((self.0 >> 33) % sides).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.roll(of.len());
        &of[index]
    }
}

/// A file with every field.
fn whole() -> Value {
    json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "secret": { "name": "pull", "adopt": "annotated", "cleanupAfter": "7d" },
        "scope": { "excludedNamespaces": ["kube-system", "infra"] },
        "injection": "none",
        "selection": "opt-in",
        "rules": [
            { "accounts": ["123456789012"], "regions": ["us-*"], "namespaces": ["team-*"], "assumeRole": {
                "roleArn": "arn:aws:iam::123456789012:role/pull",
                "externalId": "an-id",
                "sessionName": "session",
            }},
            { "regions": ["cn-*"], "credentials": { "name": "china" } },
            { "namespaces": ["guest"], "deny": {} },
            { "ambient": {} },
        ],
        "provision": [{
            "namespaces": ["live-*"],
            "selector": {
                "matchLabels": { "stage": "live" },
                "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["a", "b"] }],
            },
            "registries": ["123456789012.dkr.ecr.eu-central-1.amazonaws.com"],
        }],
        "endpoints": { "eu-central-1": { "ecr": "https://ecr.example.com", "sts": "https://sts.example.com" } },
        "rotation": { "maxAge": "3h" },
        "repair": { "recreatePods": true },
    })
}

/// Values in place of others: some are valid where they go, most are not.
fn values() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "a",
        "A_b",
        "*",
        "a*",
        "?",
        "team-b",
        "123456789012",
        "1234",
        "eu-central-1",
        "EU",
        "35d",
        "1d",
        "12h",
        "6",
        "30s",
        "never",
        "annotated",
        "ecr-only",
        "all",
        "opt-out",
        "opt-in",
        "all-pods",
        "kube-public",
        "In",
        "Exists",
        "live",
        "https://example.com:8443",
        "http://127.0.0.1:80",
        "${HOST}",
        "210987654321.dkr.ecr.us-west-2.amazonaws.com",
        "docker.io",
        "arn:aws:iam::123456789012:role/other",
        "arn:aws:s3:::bucket",
        "line\nbreak",
        "\u{1F600}",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1e300),
        json!([]),
        json!({}),
        json!(["a"]),
        json!(["b-*", "c"]),
        json!({ "a": "b" }),
        json!({ "deny": {} }),
    ]);
    values
}

/// Valid values of a field.
fn valid(field: &str) -> &'static [&'static str] {
    match field {
        "name" => &["pull", "a.b", "ecr-registry-credentials"],
        "adopt" => &["never", "annotated", "ecr-only", "all"],
        "cleanupAfter" => &["1d", "35d", "never", "400d"],
        "excludedNamespaces" => &["kube-system", "a", "infra-2"],
        "injection" => &["webhook", "none"],
        "selection" => &["opt-in", "opt-out", "all-pods"],
        "accounts" => &["123456789012", "1*", "2?0987654321"],
        "regions" => &["us-*", "eu-central-1", "??-north-1"],
        "namespaces" => &["team-*", "*", "a", "live-?"],
        "roleArn" => &[
            "arn:aws:iam::123456789012:role/a",
            "arn:aws-cn:iam::123456789012:role/b",
        ],
        "externalId" | "sessionName" | "stage" | "tier" | "values" => &["aa", "b.c", "d-9"],
        "key" => &["stage", "example.com/stage"],
        "operator" => &["In", "NotIn"],
        "registries" => &["123456789012.dkr.ecr.us-west-2.amazonaws.com"],
        "ecr" | "sts" => &["https://example.com:8443", "http://127.0.0.1:80"],
        "maxAge" => &["1h", "90m", "1h30m", "30s"],
        _ => &[],
    }
}

/// Changes one place at random. `field` is the name of the place.
fn mutate(dice: &mut Dice, values: &[Value], field: &str, node: &mut Value) {
    match node {
        Value::Object(fields) if !fields.is_empty() && dice.roll(12) > 0 => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = dice.pick(&names).clone();
            match dice.roll(12) {
                0 => _ = fields.remove(&name),
                1 => rename(dice, fields, &name),
                _ => mutate(dice, values, &name, &mut fields[&name]),
            }
        }
        Value::Array(items) if !items.is_empty() && dice.roll(12) > 0 => {
            let index = dice.roll(items.len());
            match dice.roll(8) {
                0 => _ = items.remove(index),
                1 => items.push(items[index].clone()),
                2 => items.rotate_left(1),
                _ => mutate(dice, values, field, &mut items[index]),
            }
        }
        Value::Bool(truth) if dice.roll(4) > 0 => *truth = !*truth,
        other if other.is_string() && !valid(field).is_empty() && dice.roll(4) > 0 => {
            *other = json!(dice.pick(valid(field)));
        }
        other => *other = dice.pick(values).clone(),
    }
}

fn rename(dice: &mut Dice, fields: &mut Map<String, Value>, name: &str) {
    let value = fields.remove(name).unwrap();
    let mut letters: Vec<char> = name.chars().collect();
    let index = dice.roll(letters.len());
    letters.remove(index);
    fields.insert(letters.into_iter().collect(), value);
}

/// Whether an error names its place: a line, or the field.
fn names_place(error: &str) -> bool {
    let fields = ["rules", "provision", "endpoints", "apiVersion"];
    error.contains("line ") || fields.iter().any(|field| error.contains(field))
}

#[test]
fn changed_file_loads_or_names_the_place() {
    let (mut dice, values) = (Dice(1), values());
    Config::parse(&serde_saphyr::to_string(&whole()).unwrap()).unwrap();
    let (mut loaded, mut refused) = (0, 0);
    for _ in 0..1000 {
        let mut file = whole();
        for _ in 0..=dice.roll(2) {
            mutate(&mut dice, &values, "", &mut file);
        }
        let yaml = serde_saphyr::to_string(&file).unwrap();
        match Config::parse(&yaml) {
            Ok(config) => {
                loaded += 1;
                let printed = config.to_yaml().unwrap();
                let again = Config::parse(&printed).unwrap_or_else(|error| {
                    panic!("{yaml}\nis printed as\n{printed}\n{error}");
                });
                assert_eq!(again.to_yaml().unwrap(), printed);
                assert_eq!(format!("{again:?}"), format!("{config:?}"), "{yaml}");
            }
            Err(error) => {
                refused += 1;
                let error = error.to_string();
                assert!(names_place(&error), "{yaml}\n{error}");
            }
        }
    }
    assert!(
        loaded >= 300 && refused >= 300,
        "{loaded} load, {refused} do not"
    );
}
