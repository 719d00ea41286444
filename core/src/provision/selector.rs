//! Label selectors in the syntax of `kubectl get --selector`, without its `<` and `>`.

use std::collections::{BTreeMap, BTreeSet};

/// All requirements hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

/// About one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// `None`: any.
    values: Option<BTreeSet<String>>,
    /// Turns it round: a label that is absent has none of the values.
    is_negated: bool,
}

/// What is wrong with a selector.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// Neither of the six forms.
    #[error("`{0}` is not a requirement")]
    Form(String),
    /// A key that no label has.
    #[error("`{0}` is not the name of a label")]
    Key(String),
    /// A value that no label has.
    #[error("`{0}` is not the value of a label")]
    Value(String),
}

impl Selector {
    /// Reads a selector; an empty one matches everything.
    ///
    /// # Errors
    ///
    /// [`InvalidSelector`] quotes what cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSelector> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut depth = 0_u32;
        let requirements = text.split(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && depth == 0
        });
        requirements
            .map(|requirement| Requirement::parse(requirement.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether something with these labels is selected.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let invalid = || InvalidSelector::Form(text.to_owned());
        if let Some(key) = text.strip_prefix('!') {
            return Self::new(key.trim(), None, true);
        }
        let end = text
            .find(|letter: char| letter.is_whitespace() || "=!(".contains(letter))
            .unwrap_or(text.len());
        let (key, rest) = text.split_at(end);
        let rest = rest.trim();
        if key.is_empty() {
            return Err(invalid());
        }
        if rest.is_empty() {
            return Self::new(key, None, false);
        }
        for (operator, is_negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Self::new(key, Some(&[value.trim()]), is_negated);
            }
        }
        for (operator, is_negated) in [("notin", true), ("in", false)] {
            let list = rest
                .strip_prefix(operator)
                .and_then(|rest| rest.trim_start().strip_prefix('('))
                .and_then(|rest| rest.strip_suffix(')'));
            if let Some(list) = list.filter(|list| !list.trim().is_empty()) {
                let values: Vec<&str> = list.split(',').map(str::trim).collect();
                return Self::new(key, Some(&values), is_negated);
            }
        }
        Err(invalid())
    }

    fn new(key: &str, values: Option<&[&str]>, is_negated: bool) -> Result<Self, InvalidSelector> {
        if !is_key(key) {
            return Err(InvalidSelector::Key(key.to_owned()));
        }
        if let Some(value) = values.into_iter().flatten().find(|value| !is_value(value)) {
            return Err(InvalidSelector::Value((*value).to_owned()));
        }
        Ok(Self {
            key: key.to_owned(),
            values: values.map(|values| values.iter().map(|value| (*value).to_owned()).collect()),
            is_negated,
        })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has_it = labels.get(&self.key).is_some_and(|label| {
            self.values
                .as_ref()
                .is_none_or(|values| values.contains(label))
        });
        has_it != self.is_negated
    }
}

/// An optional DNS subdomain and `/`, and a name.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_subdomain = |prefix: &str| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|label| is_word(label, b"-") && !label.bytes().any(|b| b.is_ascii_uppercase()))
    };
    prefix.is_none_or(is_subdomain) && name.len() <= 63 && is_word(name, b"-_.")
}

fn is_value(value: &str) -> bool {
    value.is_empty() || value.len() <= 63 && is_word(value, b"-_.")
}

/// Letters and digits, and between them these, too.
fn is_word(text: &str, inner: &[u8]) -> bool {
    let text = text.as_bytes();
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_outer(text.first())
        && is_outer(text.last())
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || inner.contains(byte))
}

#[cfg(test)]
mod tests;
