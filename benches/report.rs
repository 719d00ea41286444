//! What was measured: a table for people, and a flat JSON object.

use std::fs;

use serde_json::{Map, Value, json};

use crate::harness::tools::root;

/// A figure that has a name and a bar.
struct Figure {
    name: &'static str,
    value: f64,
    bar: f64,
}

/// All that was measured, and what else is worth a line.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure that is to stay at or below a bar.
    pub fn at_most(&mut self, name: &'static str, value: f64, bar: f64) {
        println!("{name}: {value:.3}");
        self.figures.push(Figure { name, value, bar });
    }

    /// Adds a line below the table.
    pub fn note(&mut self, text: String) {
        println!("{text}");
        self.notes.push(text);
    }

    /// Prints the table and writes the file.
    pub fn write(&self) {
        println!("\n{:<28} {:>10} {:>10}", "figure", "value", "bar");
        for Figure { name, value, bar } in &self.figures {
            let verdict = if value <= bar { "" } else { "  missed" };
            println!(
                "{name:<28} {value:>10.3} {:>10}{verdict}",
                format!("≤ {bar}")
            );
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
        let path = root().join("target/bench.json");
        let before = fs::read(&path).ok();
        let mut all: Map<String, Value> = before
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for Figure { name, value, .. } in &self.figures {
            let rounded = (value * 1000.0).round() / 1000.0;
            all.insert((*name).to_owned(), json!(rounded));
        }
        fs::create_dir_all(root().join("target")).expect("a folder");
        let text = serde_json::to_string_pretty(&all).expect("JSON");
        fs::write(&path, text + "\n").expect("a file");
        println!("{}", path.display());
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
