//! Our reading of a docker config, compared with the kubelet's: its own package answers the same
//! questions. No world is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::image::Reference;
use ecr_pull_secrets_core::pull_secret::docker_config::DockerConfig;
use ecr_pull_secrets_core::pull_secret::keyring::index_key;
use ecr_pull_secrets_core::pull_secret::{LEGACY_SECRET_TYPE, SECRET_TYPE};
use fastrand::Rng;
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::harness::tools::tool;

const CASES: usize = 10_000;
/// The same cases in each run, so that a failure is seen again.
const SEED: u64 = 15;
const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const HOSTS: [&str; 7] = [
    ECR,
    "210987654321.dkr.ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr-fips.us-west-2.amazonaws.com",
    "registry.example.com",
    "localhost",
    "docker.io",
    "index.docker.io",
];
const PATHS: [&str; 6] = [
    "app",
    "team/app",
    "team-a/app",
    "v1/app",
    "team",
    "library/nginx",
];

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "keyring::kubelet_reads_each_config_as_we_do",
        || {
            kubelet_reads_each_config_as_we_do();
            Ok(())
        },
    )]
}

/// One pull Secret, and one image.
struct Case {
    secret_type: &'static str,
    /// The entry of the key at place N is of the user `uN`.
    keys: Vec<String>,
    config: String,
    image: String,
}

/// What the kubelet does.
#[derive(Deserialize)]
struct Answer {
    malformed: bool,
    users: Vec<String>,
}

/// The keys whose credentials are tried for an image, in this order; `None` for a malformed config.
type Reading = fn(&Case) -> Option<Vec<String>>;

fn kubelet_reads_each_config_as_we_do() {
    let mut rng = Rng::with_seed(SEED);
    let cases: Vec<Case> = (0..CASES).map(|_| Case::new(&mut rng)).collect();
    let answers = ask_the_kubelet(&cases);
    let differing = |reading: Reading| {
        let all = cases.iter().zip(&answers);
        all.filter_map(move |(case, answer)| case.difference(answer, reading(case)))
    };
    let wrong: Vec<String> = differing(ours).collect();
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );

    let is_match = |answer: &&Answer| !answer.users.is_empty();
    let matching = answers.iter().filter(is_match).count();
    let malformed = answers.iter().filter(|answer| answer.malformed).count();
    assert!(matching >= 1000 && CASES - matching - malformed >= 1000 && malformed >= 100);
    let kinds = kinds_of_matching_keys(&cases, &answers);
    for kind in [
        "A",
        "https://A",
        "http://A",
        "A/",
        "https://A/v1/",
        "port",
        "path",
        "*",
    ] {
        let count = kinds.get(kind).copied().unwrap_or_default();
        assert!(count >= 50, "{kind}: {count} of {kinds:?}");
    }
    // The comparison finds a mistake of ours.
    let mistakes: [(&str, Reading); 4] = [
        ("only the plain host", |case| {
            reading(case, |keys, name| {
                let (host, _) = name.split_once('/').unwrap_or((name, ""));
                keys.iter().filter(|key| *key == host).cloned().collect()
            })
        }),
        ("no http://", |case| {
            reading(case, |keys, name| {
                lookup(keys.iter().filter(|key| !key.starts_with("http://")), name)
            })
        }),
        ("no port", |case| {
            reading(case, |keys, name| {
                lookup(keys.iter(), &name.replace(":443/", "/"))
            })
        }),
        ("another order", |case| {
            reading(case, |keys, name| {
                lookup(keys.iter(), name).into_iter().rev().collect()
            })
        }),
    ];
    for (mistake, reading) in mistakes {
        assert!(differing(reading).next().is_some(), "{mistake}");
    }
}

fn ours(case: &Case) -> Option<Vec<String>> {
    reading(case, |keys, name| lookup(keys.iter(), name))
}

fn lookup<'a>(keys: impl Iterator<Item = &'a String>, name: &str) -> Vec<String> {
    let auths: Map<String, Value> = keys.map(|key| (key.clone(), json!({}))).collect();
    let config = json!({ "auths": auths }).to_string();
    let config = DockerConfig::parse(config.as_bytes()).expect("a docker config");
    let keys = config.keyring().lookup(name);
    keys.into_iter().map(str::to_owned).collect()
}

/// A reading of the keys, where the product's parser takes the config.
fn reading(case: &Case, lookup: impl Fn(&[String], &str) -> Vec<String>) -> Option<Vec<String>> {
    let is_malformed = if case.secret_type == LEGACY_SECRET_TYPE {
        DockerConfig::is_malformed_legacy(case.config.as_bytes())
    } else {
        DockerConfig::parse(case.config.as_bytes()).is_err()
    };
    let image = Reference::parse(&case.image).expect("a valid reference");
    let is_official = image.domain() == "docker.io" && !image.repository().contains('/');
    let prefix = if is_official { "library/" } else { "" };
    let name = format!("{}/{prefix}{}", image.domain(), image.repository());
    (!is_malformed).then(|| lookup(&case.keys, &name))
}

impl Case {
    fn new(rng: &mut Rng) -> Self {
        let host = pick(rng, &HOSTS);
        let port = pick(rng, &["", "", "", ":443", ":5000"]);
        let keys = (0..rng.usize(1..5)).map(|_| {
            if rng.usize(..3) > 0 {
                return key(rng, host, port);
            }
            let (other, port) = (pick(rng, &HOSTS), pick(rng, &["", ":443", ":5000", ":"]));
            key(rng, other, port)
        });
        let keys: BTreeSet<String> = keys.collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let entries: Map<String, Value> = keys
            .iter()
            .enumerate()
            .map(|(number, key)| (key.clone(), entry(rng, &format!("u{number}"))))
            .collect();
        let is_legacy = rng.usize(..5) == 0;
        let mut config = json!({ "auths": entries });
        if rng.usize(..10) == 0 {
            config["HttpHeaders"] = pick(rng, &[json!({ "a": "b" }), json!(null), json!(["a"])]);
        }
        let tag = pick(rng, &["", ":v1", ":1.0"]);
        Self {
            secret_type: if is_legacy {
                LEGACY_SECRET_TYPE
            } else {
                SECRET_TYPE
            },
            config: if is_legacy { json!(entries) } else { config }.to_string(),
            keys,
            image: format!("{host}{port}/{}{tag}", pick(rng, &PATHS)),
        }
    }

    /// The difference between the kubelet's answer and a reading. The kubelet takes keys with one index
    /// key in any order.
    fn difference(&self, answer: &Answer, reading: Option<Vec<String>>) -> Option<String> {
        let theirs: Vec<String> = answer.users.iter().map(|user| self.key_of(user)).collect();
        let is_same = match &reading {
            None => answer.malformed,
            Some(_) if answer.malformed => false,
            Some(ours) => {
                let order = |keys: &[String]| -> Vec<Vec<u8>> {
                    let indices = keys.iter().filter_map(|key| index_key(key));
                    indices.map(|index| index.into_owned()).collect()
                };
                let sorted = |keys: &[String]| keys.iter().cloned().collect::<BTreeSet<_>>();
                order(ours) == order(&theirs) && sorted(ours) == sorted(&theirs)
            }
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "{} {}: the kubelet (malformed: {}) {theirs:?}, ours {reading:?}",
            self.image, self.config, answer.malformed
        );
        (!is_same).then_some(text)
    }

    fn key_of(&self, user: &str) -> String {
        let number: usize = user.trim_start_matches('u').parse().expect("a number");
        self.keys[number].clone()
    }
}

/// A key of a docker config, as tools and people write it.
fn key(rng: &mut Rng, host: &str, port: &str) -> String {
    let mut host = host.to_owned();
    if rng.usize(..6) == 0 {
        let labels: Vec<&str> = host.split('.').collect();
        let place = rng.usize(..labels.len());
        let label = labels[place];
        let start = label.split_at(rng.usize(..label.len())).0;
        let glob = pick(
            rng,
            &[
                "*".to_owned(),
                format!("{start}*"),
                format!("*{start}"),
                format!("{start}**"),
            ],
        );
        let all = labels.iter().enumerate();
        let all = all.map(|(at, label)| if at == place { &*glob } else { label });
        host = all.collect::<Vec<_>>().join(".");
    }
    let form = pick(
        rng,
        &[
            "A",
            "A",
            "https://A",
            "http://A",
            "A/",
            "https://A/v1/",
            "https://A/v2/",
            "http://A/",
            "A/v1",
            "A/v1/",
            "HTTPS://A",
            "https://https://A",
            "//A",
            "user@A",
            "https://user:secret@A/",
            "A/?a=b",
            "A?b",
            "A#c",
            "A/%74eam",
            "A/%zz",
            "A/team%3Fx",
            "A%25",
            "A%C3%BC",
            "A ",
            "A\u{7f}",
            "[A]",
            "A\\",
            "ü.A",
            "A.",
            "A:80",
            "A//",
            "A/v1/team",
            "A/v2/team/",
            "A/v10/",
            "a/A",
            "",
        ],
    );
    let path = pick(
        rng,
        &["", "", "", "", "/team", "/team/app", "/te", "/team/"],
    );
    let host = format!("{host}{port}");
    let key = form.replacen('A', &host, 1);
    match form {
        "A" | "https://A" | "http://A" => format!("{key}{path}"),
        _ => key,
    }
}

/// An entry of a docker config. Some are malformed.
fn entry(rng: &mut Rng, user: &str) -> Value {
    let auth = BASE64_STANDARD.encode(format!("{user}:secret"));
    match rng.usize(..60) {
        0 => json!({ "username": user, "auth": "%%%" }),
        1 => json!({ "username": user, "auth": BASE64_STANDARD.encode("no colon") }),
        2 => json!({ "username": user, "password": 1 }),
        3 => json!("a text"),
        4 => json!({ "username": user, "auth": format!("{auth} ") }),
        5 => json!({ "auth": format!("{auth}\n") }),
        6..=20 => json!({ "auth": auth }),
        21..=30 => json!({ "auth": auth.trim_end_matches('='), "email": "a@example.com" }),
        31 => json!({ "username": user, "auth": null, "future": [1] }),
        _ => json!({ "username": user, "password": "secret" }),
    }
}

fn pick<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())].clone()
}

/// How often a key of each kind serves the image of its case.
fn kinds_of_matching_keys(cases: &[Case], answers: &[Answer]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for (case, answer) in cases.iter().zip(answers) {
        let domain = Reference::parse(&case.image)
            .expect("a valid reference")
            .domain();
        for key in answer.users.iter().map(|user| case.key_of(user)) {
            let form = key.replace(domain, "A");
            let forms = ["A", "https://A", "http://A", "A/", "https://A/v1/"];
            let form = forms.into_iter().find(|known| *known == form);
            let others = [
                (domain.contains(':'), "port"),
                (key.contains("/team"), "path"),
                (key.contains('*'), "*"),
            ];
            let others = others.into_iter().filter(|(is_one, _)| *is_one);
            for kind in form.into_iter().chain(others.map(|(_, kind)| kind)) {
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    kinds
}

fn ask_the_kubelet(cases: &[Case]) -> Vec<Answer> {
    let mut questions = tempfile::tempfile().expect("a file");
    for case in cases {
        let question =
            json!({ "Type": case.secret_type, "Config": case.config, "Image": case.image });
        writeln!(questions, "{question}").expect("a line");
    }
    std::io::Seek::rewind(&mut questions).expect("the start");
    let output = Command::new(tool("keyring"))
        .stdin(questions)
        // The kubelet's package logs each key that it ignores.
        .stderr(Stdio::null())
        .output()
        .expect("the kubelet's keyring");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let answers = text.lines().map(serde_json::from_str::<Answer>);
    let answers: Vec<Answer> = answers.collect::<Result<_, _>>().expect("answers");
    assert_eq!(answers.len(), cases.len());
    answers
}
