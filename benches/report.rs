//! Results of a run: a table, a flat JSON object, and a picture.

use std::fs;

use serde_json::{Map, Value, json};

use crate::figures::{self, Bar, Figure};
use crate::harness::tools::root;
use crate::plot;

/// Whether this is a trial run: fewer and shorter turns, and figures that mean nothing.
fn is_quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some()
}

/// A number of turns or seconds, less in a trial run.
pub fn few(number: usize) -> usize {
    if is_quick() {
        (number / 10).max(2)
    } else {
        number
    }
}

/// A measured figure.
struct Measured {
    name: &'static str,
    value: f64,
    bar: Bar,
}

/// Measured figures, and notes.
#[derive(Default)]
pub struct Report {
    figures: Vec<Measured>,
    notes: Vec<String>,
}

impl Report {
    /// Adds one of [`figures::ALL`].
    ///
    /// # Panics
    ///
    /// If there is no figure of that name.
    pub fn figure(&mut self, name: &str, value: f64) {
        let named = figures::ALL.iter().find(|figure| figure.name == name);
        let Figure { name, bar, .. } = *named.expect("a figure of the table");
        println!("{name}: {value:.3}");
        self.figures.push(Measured { name, value, bar });
    }

    /// Adds a line below the table.
    pub fn note(&mut self, text: String) {
        println!("{text}");
        self.notes.push(text);
    }

    /// Prints the table and writes the files.
    pub fn write(&self) {
        println!("\n{:<34} {:>10} {:>10}", "figure", "value", "bar");
        for Measured { name, value, bar } in &self.figures {
            let verdict = if bar.holds(*value) { "" } else { "  missed" };
            println!("{name:<34} {value:>10.3} {:>10}{verdict}", bar.to_string());
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
        let folder = root().join("target");
        let path = folder.join("bench.json");
        let before = fs::read(&path).ok();
        let mut all: Map<String, Value> = before
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for Measured { name, value, .. } in &self.figures {
            let rounded = (value * 1000.0).round() / 1000.0;
            all.insert((*name).to_owned(), json!(rounded));
        }
        let value = |name: &str| all.get(name).and_then(Value::as_f64);
        println!("\n{}", plot::markdown(value));
        if is_quick() {
            println!("a trial run writes nothing");
            return;
        }
        fs::create_dir_all(&folder).expect("a folder");
        let text = serde_json::to_string_pretty(&all).expect("JSON");
        fs::write(&path, text + "\n").expect("a file");
        println!("{}", path.display());
        let picture = folder.join("bench.svg");
        fs::write(&picture, plot::svg(value)).expect("a file");
        println!("{}", picture.display());
    }
}

/// Quantiles of the values.
pub fn quantiles<const N: usize>(values: &[f64], shares: [f64; N]) -> [f64; N] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    shares.map(|share| sorted[((sorted.len() - 1) as f64 * share) as usize])
}

/// Median of the values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
