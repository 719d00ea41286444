//! The fuzz targets as property tests: the same functions on the checked-in corpora, on damaged
//! corpus files, on any bytes, and on nearly well-formed bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test")]
#![allow(unreachable_pub, reason = "a test crate has no users")]

mod shapes;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Every file of a target's corpus and its regressions.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut files = Vec::new();
    for folder in ["corpus", "regressions"] {
        // Most targets have no regressions, and git keeps no empty folder.
        let Ok(entries) = fs::read_dir(root.join(folder).join(target)) else {
            continue;
        };
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.sort();
    assert!(files.len() >= 10, "{target}: {} files", files.len());
    let read = |path| fs::read(path).unwrap();
    files.into_iter().map(read).collect()
}

/// A corpus file with parts removed, repeated, or replaced by parts of another file.
fn damaged(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let corpus = corpus(target);
    let cut = (any::<Index>(), any::<Index>(), 0..40_usize, 0..40_usize);
    let cuts = prop::collection::vec((cut, select(corpus.clone()), any::<u8>()), 1..4);
    (select(corpus), cuts).prop_map(|(mut bytes, cuts)| {
        for ((to, from, out, length), other, byte) in cuts {
            let start = to.index(bytes.len() + 1);
            let end = bytes.len().min(start + out);
            let from = from.index(other.len() + 1);
            let mut piece = other[from..other.len().min(from + length)].to_vec();
            if piece.len() < 2 {
                piece = vec![byte];
            }
            bytes.splice(start..end, piece);
        }
        bytes
    })
}

macro_rules! target {
    ($name:ident, $shape:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn corpus_passes() {
                let corpus = corpus(stringify!($name));
                corpus.iter().for_each(|bytes| targets::$name::check(bytes));
            }

            proptest! {
                #![proptest_config(ProptestConfig {
                    cases: 500,
                    failure_persistence: None,
                    ..ProptestConfig::default()
                })]

                #[test]
                fn damaged_corpus_passes(bytes in damaged(stringify!($name))) {
                    targets::$name::check(&bytes);
                }

                #[test]
                fn any_bytes_pass(bytes in any::<Vec<u8>>()) {
                    targets::$name::check(&bytes);
                }

                #[test]
                fn nearly_well_formed_bytes_pass(bytes in $shape) {
                    targets::$name::check(&bytes);
                }
            }
        }
    };
}

target!(reference, shapes::reference());
target!(review, shapes::review());
target!(docker_config, shapes::docker_config());
target!(config, shapes::config());
