//! The figures: what is promised in numbers, measured on a real API server with the binary that
//! ships. `make bench` runs all of it; a word on the command line runs what contains it.
//!
//! A figure that is a ratio compares two things of the same run, taken by turns, by their medians:
//! another machine, or one that does other things as well, moves both. Results go to a table, and to
//! `target/bench.json`, where those of an earlier run stay that were not measured anew.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by a panic"
)]
#![allow(unreachable_pub, reason = "a binary has no outside")]

#[path = "../tests/suite/harness/mod.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod harness;
mod hostile;
mod memory;
mod process;
mod report;
mod rotation;
mod site;

use report::Report;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut report = Report::default();
    let runtime = harness::world::runtime();
    if is_wanted("rotation") {
        runtime.block_on(rotation::measure(&mut report));
    }
    if is_wanted("memory") {
        runtime.block_on(memory::measure(&mut report));
    }
    if is_wanted("hostile") {
        runtime.block_on(hostile::measure(&mut report));
    }
    report.write();
}
