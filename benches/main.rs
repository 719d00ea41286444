//! The promised figures, measured on a real API server with the binary that ships. `make bench` runs all
//! parts but those of scale, which `make bench-scale` runs. A word on the command line runs the parts whose
//! name contains it.
//!
//! A ratio compares medians of two subjects that take turns in one run, because another or a busy machine
//! moves both. Results go to a table, to `target/bench.json` and to a picture beside it. The file keeps
//! earlier figures that this run did not measure. With `BENCH_QUICK=1` a run is short and writes nothing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by a panic"
)]
#![allow(unreachable_pub, reason = "a binary has no outside")]

mod cold;
mod cores;
mod decode;
mod figures;
mod fleet;
mod guards;
#[path = "../tests/suite/harness/mod.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod harness;
mod hostile;
mod identities;
mod image;
mod load;
mod memory;
mod nothing;
mod plot;
mod pods;
mod process;
mod report;
mod rotation;
mod site;
mod subject;
mod tenant;
mod warm;

use report::Report;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if words.first().is_some_and(|word| word == "load") {
        return load::main(&words[1..]);
    }
    // Parts that take as long as they take: `make bench-scale`.
    let (is_scale, words) = match words.split_first() {
        Some((first, rest)) if first == "scale" => (true, rest),
        _ => (false, words.as_slice()),
    };
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut report = Report::default();
    let runtime = harness::world::runtime();
    if is_scale {
        if is_wanted("identities") {
            runtime.block_on(identities::measure(&mut report));
        }
        if is_wanted("fleet") {
            runtime.block_on(fleet::measure(&mut report));
        }
        return report.write();
    }
    if is_wanted("image") {
        image::measure(&mut report);
    }
    if is_wanted("decode") {
        decode::measure(&mut report);
    }
    if is_wanted("warm") {
        runtime.block_on(warm::measure(&mut report));
    }
    if is_wanted("cold") {
        runtime.block_on(cold::measure(&mut report));
    }
    if is_wanted("pods") {
        runtime.block_on(pods::measure(&mut report));
    }
    if is_wanted("guards") {
        runtime.block_on(guards::measure(&mut report));
    }
    if is_wanted("rotation") {
        runtime.block_on(rotation::measure(&mut report));
    }
    if is_wanted("memory") {
        runtime.block_on(memory::measure(&mut report));
    }
    if is_wanted("hostile") {
        runtime.block_on(hostile::measure(&mut report));
    }
    if is_wanted("tenant") {
        runtime.block_on(tenant::measure(&mut report));
    }
    report.write();
}
