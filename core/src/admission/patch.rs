//! The only two patches that we ever send, made once.
//!
//! A patch that does not apply fails the user's request even under `failurePolicy: Ignore`, so
//! there is no diff of anything here: the list is absent, and gets made with one element, or it is
//! there, and gets one element at its end.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

use crate::workload::pod::List;

/// Base64 of the two patches, ready to be copied into an answer.
#[derive(Clone, Debug)]
pub struct Patches {
    create: String,
    append: String,
}

impl Patches {
    /// Builds both for a Secret's name.
    pub fn new(secret_name: &str) -> Self {
        let reference = json!({ "name": secret_name });
        Self {
            create: encode(&["spec", "imagePullSecrets"], json!([reference])),
            append: encode(&["spec", "imagePullSecrets", "-"], reference),
        }
    }

    /// The patch for a list as it stands; none where it names the Secret already.
    pub fn for_list(&self, list: List) -> Option<&str> {
        match list {
            List::Absent => Some(&self.create),
            List::Present => Some(&self.append),
            List::Named => None,
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
    fn each_case_of_the_list_has_its_patch() {
        let patches = Patches::new("pull");
        let cases = [
            (
                List::Absent,
                json!({"spec": {}}),
                json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}}),
            ),
            (
                List::Absent,
                json!({"spec": {"imagePullSecrets": null}}),
                json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}}),
            ),
            (
                List::Present,
                json!({"spec": {"imagePullSecrets": [{"name": "a"}, {}]}}),
                json!({"spec": {"imagePullSecrets": [{"name": "a"}, {}, {"name": "pull"}]}}),
            ),
        ];
        for (list, mut pod, wanted) in cases {
            json_patch::patch(&mut pod, &decode(patches.for_list(list).unwrap())).unwrap();
            assert_eq!(pod, wanted);
        }
        assert_eq!(patches.for_list(List::Named), None);
    }

    #[test]
    fn a_name_is_json_not_text() {
        let patches = Patches::new("a\"b");
        let mut pod = json!({"spec": {}});
        json_patch::patch(&mut pod, &decode(patches.for_list(List::Absent).unwrap())).unwrap();
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "a\"b");
    }
}
