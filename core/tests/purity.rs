//! The core cannot act: its code names no I/O, clock or runtime, and has no dependency that does.

#![allow(clippy::unwrap_used)]

use std::path::Path;

const ACTS: &str = "std::{ std::fs std::net std::io std::env std::process std::thread SystemTime Instant ::now( tokio:: \
    futures:: kube:: k8s_openapi aws_sdk aws_config hyper reqwest println! eprintln! async .await";
const DEPENDENCIES: &str =
    "base64 jiff json-patch secrecy serde serde-saphyr serde_json sha2 thiserror wildmatch";

/// The forbidden names in a source, outside comments.
fn impurities(source: &str) -> Vec<&str> {
    let code = || {
        source
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with("//"))
    };
    ACTS.split_whitespace()
        .filter(|act| code().any(|line| line.contains(act)))
        .collect()
}

fn check(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check(&path);
        } else {
            assert_eq!(
                impurities(&std::fs::read_to_string(&path).unwrap()),
                [""; 0],
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn core_sources_name_nothing_that_acts() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}

#[test]
fn core_has_only_pure_dependencies() {
    let manifest = include_str!("../Cargo.toml");
    // Two tables: the dependencies and those of tests. No third one, such as for one platform.
    assert_eq!(manifest.matches("dependencies").count(), 2);
    let (_, rest) = manifest.split_once("[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let names: Vec<&str> = section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .collect();
    assert_eq!(
        names.join(" ").trim_end(),
        DEPENDENCIES,
        "add a dependency to the list only if it is pure"
    );
}

#[test]
fn check_finds_sources_that_act() {
    assert_eq!(
        impurities("use std::fs;\n    let now = Timestamp::now();"),
        ["std::fs", "::now("]
    );
    assert_eq!(impurities("// std::fs\nlet pure = 1;"), [""; 0]);
}
