//! What the API server says, as a [`Cause`]: the one place that reads its status objects.

use ecr_pull_secrets_core::cause::Cause;
use kube::core::Status;

use crate::telemetry::chain::chain;

/// Why a write of a pull Secret did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Somebody changed, made or deleted the Secret since we looked: look again.
    Changed,
    /// Somebody else owns the content.
    Owned,
    /// Anything that looking again does not help.
    Because(Cause, String),
}

/// Reads an error of a call about a namespace's pull Secret.
pub(crate) fn refusal(error: &kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) => of_status(status),
        other => Refusal::Because(Cause::ApiServerUnreachable, chain(other)),
    }
}

fn of_status(status: &Status) -> Refusal {
    let has_cause = |reason: &str| {
        let causes = status
            .details
            .as_ref()
            .map(|details| details.causes.as_slice())
            .unwrap_or_default();
        causes.iter().any(|cause| cause.reason == reason)
    };
    let because = |cause| Refusal::Because(cause, status.message.clone());
    match status.code {
        409 if has_cause("FieldManagerConflict") => Refusal::Owned,
        409 => Refusal::Changed,
        403 if has_cause("NamespaceTerminating") => because(Cause::NamespaceTerminating),
        // The quota plugin gives no machine-readable cause.
        403 if status.message.contains("exceeded quota") => because(Cause::QuotaExceeded),
        // Other plugins answer 403 as well; RBAC alone names the user and the verb.
        403 if status.message.contains(" cannot ") => because(Cause::RbacForbidden),
        401 => because(Cause::RbacForbidden),
        404 => because(Cause::NamespaceMissing),
        429 | 500.. => because(Cause::ApiServerBusy),
        _ => because(Cause::SecretRefused),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn error(code: u16, message: &str, cause: &str) -> kube::Error {
        let causes = if cause.is_empty() {
            Vec::new()
        } else {
            vec![StatusCause {
                reason: cause.to_owned(),
                message: String::new(),
                field: String::new(),
            }]
        };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        };
        let status = Status::failure(message, "")
            .with_code(code)
            .with_details(details);
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn each_refusal_of_the_api_server_has_its_cause() {
        assert_eq!(
            refusal(&error(409, "the object has been modified", "")),
            Refusal::Changed
        );
        assert_eq!(
            refusal(&error(409, "Apply failed", "FieldManagerConflict")),
            Refusal::Owned
        );
        let cases = [
            (
                403,
                "being terminated",
                "NamespaceTerminating",
                Cause::NamespaceTerminating,
            ),
            (
                403,
                "secrets \"x\" is forbidden: exceeded quota: q",
                "",
                Cause::QuotaExceeded,
            ),
            (
                403,
                "User \"x\" cannot patch resource \"secrets\"",
                "",
                Cause::RbacForbidden,
            ),
            (403, "denied by a policy", "", Cause::SecretRefused),
            (401, "Unauthorized", "", Cause::RbacForbidden),
            (
                404,
                "namespaces \"x\" not found",
                "",
                Cause::NamespaceMissing,
            ),
            (422, "data: Invalid value", "", Cause::SecretRefused),
            (413, "too large", "", Cause::SecretRefused),
            (429, "too many requests", "", Cause::ApiServerBusy),
            (500, "etcd leader changed", "", Cause::ApiServerBusy),
            (504, "timeout", "", Cause::ApiServerBusy),
        ];
        for (code, message, cause, wanted) in cases {
            assert_eq!(
                refusal(&error(code, message, cause)),
                Refusal::Because(wanted, message.to_owned()),
                "{code} {message}"
            );
        }
    }
}
