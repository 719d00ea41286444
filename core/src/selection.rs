//! Which pods get the reference: the label `ecr-pull-secrets.dev/inject` of pod and namespace.

use serde::{Deserialize, Serialize};

/// The wish that the label of a pod or a namespace states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// No label, or a value that is neither `true` nor `false`.
    #[default]
    None,
    /// `true`.
    In,
    /// `false`. It wins over everything.
    Out,
}

impl Wish {
    /// The label's key.
    pub const LABEL: &'static str = "ecr-pull-secrets.dev/inject";

    /// Reads the label's value.
    pub fn of_label(value: Option<&str>) -> Self {
        match value {
            Some("true") => Self::In,
            Some("false") => Self::Out,
            _ => Self::None,
        }
    }
}

/// The configuration's `selection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Every pod, unless the label of the pod or of its namespace is `false`.
    #[default]
    OptOut,
    /// A pod if its label or that of its namespace is `true`, and neither is `false`.
    OptIn,
}

impl Selection {
    /// Whether a pod with this wish, in a namespace with that one, gets the reference.
    pub fn admits(self, pod: Wish, namespace: Wish) -> bool {
        if pod == Wish::Out || namespace == Wish::Out {
            return false;
        }
        self == Self::OptOut || pod == Wish::In || namespace == Wish::In
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_value_is_true_or_false_exactly() {
        assert_eq!(Wish::LABEL, "ecr-pull-secrets.dev/inject");
        for (value, wish) in [
            (None, Wish::None),
            (Some("true"), Wish::In),
            (Some("false"), Wish::Out),
            (Some(""), Wish::None),
            (Some("True"), Wish::None),
            (Some("FALSE"), Wish::None),
            (Some("no"), Wish::None),
            (Some("1"), Wish::None),
        ] {
            assert_eq!(Wish::of_label(value), wish, "{value:?}");
        }
    }

    #[test]
    fn false_wins_and_opt_in_needs_one_true() {
        use Wish::{In, None, Out};

        let cases = [
            // pod, namespace, opt-out, opt-in
            (None, None, true, false),
            (None, In, true, true),
            (In, None, true, true),
            (In, In, true, true),
            (Out, None, false, false),
            (Out, In, false, false),
            (Out, Out, false, false),
            (None, Out, false, false),
            (In, Out, false, false),
        ];
        for (pod, namespace, opt_out, opt_in) in cases {
            assert_eq!(
                Selection::OptOut.admits(pod, namespace),
                opt_out,
                "{pod:?} in {namespace:?}"
            );
            assert_eq!(
                Selection::OptIn.admits(pod, namespace),
                opt_in,
                "{pod:?} in {namespace:?}"
            );
        }
    }
}
