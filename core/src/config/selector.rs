//! A Kubernetes LabelSelector, as objects of the API write it.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1` (`LabelSelector`) and its `validation`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::names::{is_label_key, is_label_value};

/// Requirements on labels, which must all hold; without any, it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with their values.
    #[serde(
        default,
        deserialize_with = "match_labels",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements with an operator.
    #[serde(
        default,
        deserialize_with = "match_expressions",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub match_expressions: Vec<Requirement>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The key of the label.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// The values of `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is absent.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Operator {
    fn takes_values(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A selector that the API server would refuse. The text begins with the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// A key that no label has.
    #[error("{field}: `{key}` is not the key of a label; write stage or example.com/stage, say")]
    Key {
        /// The field.
        field: String,
        /// The text in place of a key.
        key: String,
    },
    /// A value that no label has.
    #[error(
        "{field}: `{value}` is not the value of a label; write at most 63 letters, digits, `-`, `_` and `.`"
    )]
    Value {
        /// The field.
        field: String,
        /// The text in place of a value.
        value: String,
    },
    /// No value for an operator that compares with values.
    #[error("matchExpressions[{index}].values: give at least one value for {operator}")]
    NoValues {
        /// The index of the requirement.
        index: usize,
        /// Its operator.
        operator: Operator,
    },
    /// Values for an operator that compares with none.
    #[error("matchExpressions[{index}].values: leave the field out for {operator}")]
    Values {
        /// The index of the requirement.
        index: usize,
        /// Its operator.
        operator: Operator,
    },
}

impl LabelSelector {
    /// Checks what the API server checks.
    ///
    /// # Errors
    ///
    /// [`InvalidSelector`] names the field and quotes it.
    pub(super) fn check(&self) -> Result<(), InvalidSelector> {
        for (key, value) in &self.match_labels {
            check_key("matchLabels", key)?;
            check_value(&format!("matchLabels.{key}"), value)?;
        }
        for (index, requirement) in self.match_expressions.iter().enumerate() {
            requirement.check(index)?;
        }
        Ok(())
    }

    /// Whether an object with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut pairs = self.match_labels.iter();
        let mut requirements = self.match_expressions.iter();
        pairs.all(|(key, value)| labels.get(key) == Some(value))
            && requirements.all(|requirement| requirement.matches(labels))
    }

    /// Whether an object with this label can match, whatever its other labels are.
    pub(super) fn can_match(&self, key: &str, value: &str) -> bool {
        let label = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let about_it = |requirement: &&Requirement| requirement.key == key;
        let mut requirements = self.match_expressions.iter().filter(about_it);
        self.match_labels
            .get(key)
            .is_none_or(|wanted| wanted == value)
            && requirements.all(|requirement| requirement.matches(&label))
    }
}

impl Requirement {
    fn check(&self, index: usize) -> Result<(), InvalidSelector> {
        let operator = self.operator;
        check_key(&format!("matchExpressions[{index}].key"), &self.key)?;
        match (operator.takes_values(), self.values.is_empty()) {
            (true, true) => return Err(InvalidSelector::NoValues { index, operator }),
            (false, false) => return Err(InvalidSelector::Values { index, operator }),
            (true, false) | (false, true) => {}
        }
        let field = format!("matchExpressions[{index}].values");
        self.values
            .iter()
            .try_for_each(|value| check_value(&field, value))
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let is_listed = label.is_some_and(|label| self.values.contains(label));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
        }
    }
}

fn check_key(field: &str, key: &str) -> Result<(), InvalidSelector> {
    if is_label_key(key) {
        return Ok(());
    }
    Err(InvalidSelector::Key {
        field: field.to_owned(),
        key: key.to_owned(),
    })
}

fn check_value(field: &str, value: &str) -> Result<(), InvalidSelector> {
    if is_label_value(value) {
        return Ok(());
    }
    Err(InvalidSelector::Value {
        field: field.to_owned(),
        value: value.to_owned(),
    })
}

/// A selector in the form of kubectl, which versions before the first release read.
const OF_KUBECTL: &str = "write a LabelSelector in place of a text: {matchLabels: {stage: live}, matchExpressions: [{key: frozen, operator: DoesNotExist}]}";

/// Reads the field `selector`. Blank, it would match every namespace.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    struct Form;

    impl<'de> Visitor<'de> for Form {
        type Value = LabelSelector;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a LabelSelector")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            LabelSelector::deserialize(MapAccessDeserializer::new(map))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Err(E::custom(format!("`{text}`: {OF_KUBECTL}")))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Err(blank("selector"))
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Err(blank("selector"))
        }
    }

    deserializer.deserialize_any(Form)
}

fn match_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| blank("matchLabels"))
}

fn match_expressions<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Requirement>, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| blank("matchExpressions"))
}

fn blank<E: Error>(field: &str) -> E {
    E::custom(format!(
        "`{field}` is blank; give a requirement, or leave the field out"
    ))
}

#[cfg(test)]
mod tests;
