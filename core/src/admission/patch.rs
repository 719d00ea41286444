//! The only two patches of the webhook, built once for each configuration.
//!
//! A patch that does not apply fails the user's request even under `failurePolicy: Ignore`. So no
//! patch is a diff: one creates a list with one element, the other appends one element to a list.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

use crate::workload::plan::PullReference;

/// The two patches, as base64 that an answer copies.
#[derive(Clone, Debug)]
pub struct Patches {
    create: String,
    append: String,
}

impl Patches {
    /// Builds both for the name of the pull Secret.
    pub fn new(secret_name: &str) -> Self {
        let reference = json!({ "name": secret_name });
        Self {
            create: encode(&["spec", "imagePullSecrets"], json!([reference])),
            append: encode(&["spec", "imagePullSecrets", "-"], reference),
        }
    }

    /// The patch that adds the reference; `None` if the pod has it or does not get it.
    pub fn adding(&self, reference: PullReference) -> Option<&str> {
        match reference {
            PullReference::Create => Some(&self.create),
            PullReference::Append => Some(&self.append),
            PullReference::Named | PullReference::Withheld => None,
        }
    }
}

fn encode(path: &[&str], value: Value) -> String {
    let add = AddOperation {
        path: PointerBuf::from_tokens(path.iter().copied()),
        value,
    };
    let patch = Patch(vec![PatchOperation::Add(add)]);
    // `Display` of a patch is its JSON.
    BASE64_STANDARD.encode(patch.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(patch: &str) -> Patch {
        serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap()
    }

    #[test]
    fn each_kind_of_list_has_its_patch() {
        let patches = Patches::new("pull");
        let cases = [
            (
                PullReference::Create,
                json!({"spec": {}}),
                json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}}),
            ),
            (
                PullReference::Create,
                json!({"spec": {"imagePullSecrets": null}}),
                json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}}),
            ),
            (
                PullReference::Append,
                json!({"spec": {"imagePullSecrets": [{"name": "a"}, {}]}}),
                json!({"spec": {"imagePullSecrets": [{"name": "a"}, {}, {"name": "pull"}]}}),
            ),
        ];
        for (reference, mut pod, wanted) in cases {
            json_patch::patch(&mut pod, &decode(patches.adding(reference).unwrap())).unwrap();
            assert_eq!(pod, wanted);
        }
        assert_eq!(patches.adding(PullReference::Named), None);
        assert_eq!(patches.adding(PullReference::Withheld), None);
    }

    #[test]
    fn secret_name_is_escaped_as_json() {
        let patches = Patches::new("a\"b");
        let mut pod = json!({"spec": {}});
        json_patch::patch(
            &mut pod,
            &decode(patches.adding(PullReference::Create).unwrap()),
        )
        .unwrap();
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "a\"b");
    }
}
