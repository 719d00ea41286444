//! Decode, decide, encode: the cost of a review without the network.

use std::fs;
use std::hint::black_box;

use ecr_pull_secrets_core::admission::patch::Patches;
use ecr_pull_secrets_core::admission::review::{self, Answer};
use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::plan::{AccountFact, Facts, NamespaceFact, plan};
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::namespace::SECRET;
use crate::harness::tools::root;
use crate::report::{Report, few, median};

/// Rounds through all reviews in a turn.
const ROUNDS: usize = 300;
/// Turns that count.
const TURNS: usize = 5;

/// Measures it.
pub fn measure(report: &mut Report) {
    let reviews = recorded();
    let config = Config::default();
    let patches = Patches::new(SECRET);
    let bytes: usize = reviews.iter().map(Vec::len).sum();
    let mut each = Vec::new();
    for _ in 0..few(TURNS) {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            for review in &reviews {
                black_box(answer(black_box(review), &patches, &config));
            }
        }
        let count = (ROUNDS * reviews.len()) as f64;
        each.push(begun.elapsed().as_secs_f64() * 1e9 / count);
    }
    let each = median(&each);
    report.figure("review_ns", each);
    report.note(format!(
        "decode, decide, encode: {each:.0} ns for each of {} recorded reviews of {} bytes on average, {:.0} a second \
         on one core",
        reviews.len(),
        bytes / reviews.len(),
        1e9 / each,
    ));
}

fn answer(bytes: &[u8], patches: &Patches, config: &Config) -> Vec<u8> {
    let review = review::decode(bytes).expect("a review");
    let workload = review.workload();
    let facts = Facts {
        namespace: Some(NamespaceFact::Active(Wish::None)),
        account: Some(AccountFact::Unrestricted),
    };
    let plan = plan(&workload, &facts, config).expect("a plan");
    let answer = Answer::of_plan(&review.uid, &plan, patches);
    review::encode(&answer).expect("an answer")
}

/// The recorded reviews of the core's tests, as the API server sends them.
pub fn recorded() -> Vec<Vec<u8>> {
    let folder = fs::read_dir(root().join("tests/fixtures/reviews")).expect("a folder");
    let one = |file: std::io::Result<fs::DirEntry>| {
        let text = fs::read(file.expect("a file").path()).expect("a file");
        let all: Value = serde_json::from_slice(&text).expect("JSON");
        serde_json::to_vec(&all["review"]).expect("JSON")
    };
    folder.map(one).collect()
}
