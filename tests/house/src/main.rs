//! `house [cycles] [names] [words]`: checks the sources of the repository in the current directory.
//!
//! Prints each finding with file and line. Exit code: 0 without a finding, 1 with one, 2 if the check cannot run.

mod cycles;
mod edges;
mod failure;
mod imports;
mod lexer;
mod names;
mod prose;
mod resolve;
mod tree;
mod word_list;
mod words;

use std::fs::read_to_string;
use std::path::Path;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::tree::Tree;

/// Crate roots of each `src` folder. Files of two folders cannot form a cycle: Cargo forbids it between crates.
const CRATES: [&str; 3] = ["core/src/lib.rs", "src/lib.rs", "src/main.rs"];

const CHECKS: [&str; 3] = ["cycles", "names", "words"];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !CHECKS.contains(&name.as_str())) {
        eprintln!("house: unknown check {unknown}: want cycles, names or words");
        return ExitCode::from(2);
    }
    match run(&wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("house: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs the wanted checks, or all of them; true if there is no finding.
fn run(wanted: &[String]) -> Result<bool, Failure> {
    let mut clean = true;
    for check in CHECKS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == check) {
            continue;
        }
        let findings = findings(check, Path::new("."))?;
        for finding in &findings {
            println!("{finding}");
        }
        match findings.len() {
            0 => println!("{check}: none"),
            number => println!("{check}: {number}"),
        }
        clean &= findings.is_empty();
    }
    Ok(clean)
}

fn findings(check: &str, root: &Path) -> Result<Vec<String>, Failure> {
    match check {
        "cycles" => Ok(trees(root)?.iter().flat_map(cycles::findings).collect()),
        "names" => Ok(names::findings(&trees(root)?)),
        _ => words::findings(root),
    }
}

fn trees(root: &Path) -> Result<Vec<Tree>, Failure> {
    let read = |path: &Path| read_to_string(root.join(path));
    CRATES
        .iter()
        .map(|file| Tree::load(Path::new(file), &read))
        .collect()
}

#[cfg(test)]
mod tests;
