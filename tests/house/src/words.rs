//! Plain English, by the list in `words.txt`.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::lexer::Language;
use crate::prose::{Format, Token, name_tokens, tokens};
use crate::word_list::{PATH, Phrase, WordList};

const LIST: &str = include_str!("../words.txt");

/// Not ours, not written by hand, or about the words themselves.
const LEFT_OUT: [&str; 6] = [
    "LICENSE",
    "certs/cert-manager.yaml",
    "fuzz/corpus/",
    "manifests/install.yaml",
    "tests/house/fixtures/",
    PATH,
];

pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Failure> {
    let list = WordList::parse(LIST)?;
    let mut check = Check::new(&list);
    for path in files(root)? {
        match format(&path) {
            Some(format) => check.file(&path, &read(&root.join(&path))?, format),
            None => check.name(&path),
        }
    }
    Ok(check.end())
}

fn read(path: &Path) -> Result<String, Failure> {
    read_to_string(path).map_err(|source| Failure::Read {
        path: path.to_owned(),
        source,
    })
}

/// Everything that git knows or would add, apart from what is deleted.
fn files(root: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new("git")
        .current_dir(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .map_err(|error| Failure::List(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::List(said.trim().to_owned()));
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split_terminator('\0')
        .filter(|path| !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)))
        .filter(|path| root.join(path).exists())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// None for a file of which only the name is checked.
fn format(path: &str) -> Option<Format> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (name, extension) {
        _ if path.starts_with("tests/fixtures/") => {
            (extension == "json").then_some(Format::Fixture)
        }
        ("Cargo.lock" | "go.sum", _) => None,
        ("Makefile" | "Dockerfile" | "go.mod" | "run", _) => Some(Format::Hash),
        (_, "rs") => Some(Format::Code(Language::Rust)),
        (_, "go") => Some(Format::Code(Language::Go)),
        (_, "md" | "txt") => Some(Format::Document),
        (_, "sh" | "yaml" | "yml" | "toml" | "tpl" | "json" | "tf") => Some(Format::Hash),
        _ => None,
    }
}

/// A pass over the files.
pub(crate) struct Check<'a> {
    list: &'a WordList,
    /// Phrases by their first word.
    by_word: HashMap<&'a str, Vec<&'a Phrase>>,
    /// Which exceptions were needed.
    used: Vec<bool>,
    findings: Vec<String>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(list: &'a WordList) -> Self {
        let mut by_word: HashMap<&str, Vec<&Phrase>> = HashMap::new();
        for phrase in &list.phrases {
            if let Some(first) = phrase.words.first() {
                by_word.entry(first).or_default().push(phrase);
            }
        }
        Self {
            list,
            by_word,
            used: vec![false; list.exceptions.len()],
            findings: Vec::new(),
        }
    }

    /// Checks the name of a file and what is in it.
    pub(crate) fn file(&mut self, path: &str, source: &str, format: Format) {
        self.name(path);
        let lines: Vec<&str> = source.lines().collect();
        let tokens = tokens(source, format);
        self.tokens(path, &tokens, |line| {
            lines.get(line - 1).copied().unwrap_or("")
        });
    }

    pub(crate) fn name(&mut self, path: &str) {
        self.tokens(path, &name_tokens(path), |_| path);
    }

    fn tokens<'t>(&mut self, path: &str, tokens: &[Token], text_of: impl Fn(usize) -> &'t str) {
        for (at, token) in tokens.iter().enumerate() {
            let Token::Word { text, line } = token else {
                continue;
            };
            let Some(phrases) = self.by_word.get(text.as_str()) else {
                continue;
            };
            for phrase in phrases {
                if phrase.is_at(tokens, at)
                    && !excuse(self.list, &mut self.used, path, text_of(*line))
                {
                    self.findings.push(format!(
                        "{path}:{line}: \"{}\": {}",
                        phrase.words.join(" "),
                        phrase.instead
                    ));
                }
            }
        }
    }

    /// All findings, and the exceptions that are not needed any more.
    pub(crate) fn end(mut self) -> Vec<String> {
        for (exception, used) in self.list.exceptions.iter().zip(&self.used) {
            if !used {
                let line = exception.line;
                let path = &exception.path;
                self.findings.push(format!(
                    "{PATH}:{line}: the exception in {path} is not needed: remove it"
                ));
            }
        }
        self.findings
    }
}

/// Whether an exception covers the line; it counts as needed then.
fn excuse(list: &WordList, used: &mut [bool], path: &str, text: &str) -> bool {
    let found = list
        .exceptions
        .iter()
        .position(|exception| exception.path == path && text.contains(&exception.part));
    if let Some(used) = found.and_then(|at| used.get_mut(at)) {
        *used = true;
    }
    found.is_some()
}

#[cfg(test)]
mod tests;
