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
    /// Every pod of a namespace whose label is `true`, whatever its images, unless its own label is `false`.
    AllPods,
}

impl Selection {
    /// Whether only a pod with an image from a private registry gets the reference.
    pub fn depends_on_images(self) -> bool {
        self != Self::AllPods
    }

    /// Whether a pod with this wish, in a namespace with that one, gets the reference.
    pub fn admits(self, pod: Wish, namespace: Wish) -> bool {
        if pod == Wish::Out || namespace == Wish::Out {
            return false;
        }
        match self {
            Self::OptOut => true,
            Self::OptIn => pod == Wish::In || namespace == Wish::In,
            Self::AllPods => namespace == Wish::In,
        }
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
    fn false_wins_and_other_selections_need_a_true() {
        use Wish::{In, None, Out};

        let cases = [
            // pod, namespace, opt-out, opt-in, all-pods
            (None, None, true, false, false),
            (None, In, true, true, true),
            (In, None, true, true, false),
            (In, In, true, true, true),
            (Out, None, false, false, false),
            (Out, In, false, false, false),
            (Out, Out, false, false, false),
            (None, Out, false, false, false),
            (In, Out, false, false, false),
        ];
        for (pod, namespace, opt_out, opt_in, all_pods) in cases {
            for (selection, admits) in [
                (Selection::OptOut, opt_out),
                (Selection::OptIn, opt_in),
                (Selection::AllPods, all_pods),
            ] {
                let got = selection.admits(pod, namespace);
                assert_eq!(got, admits, "{selection:?}: {pod:?} in {namespace:?}");
            }
        }
    }
}
