//! The answer of an API server that does not do what a call asks, and its [`Cause`].
//!
//! Only this file reads status codes, reasons and messages of the API server. All other code
//! matches on [`Refusal`]; [`super::policy`] also looks for the name of a guard in the detail.

use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::scrub::scrub;
use kube::core::Status;

use crate::telemetry::chain::chain;

/// What the API server says, with 500, of an object that etcd does not take: etcd's own words, or
/// those of the API server's client of etcd, for one of more than 2 MiB.
const TOO_LARGE: [&str; 2] = [
    "etcdserver: request is too large",
    "trying to send message larger than max",
];

/// Why a call did not do what it was made for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The object was created, changed or deleted since it was read: a new read helps.
    #[error("the object changed since it was read")]
    Changed,
    /// Another field manager owns a field of the object.
    #[error("another field manager owns a field of the object")]
    Owned,
    /// The namespace may be there; the object itself is not.
    #[error("the object does not exist")]
    Missing,
    /// A field of the object breaks a rule of its kind, such as a limit of its size: the fields that
    /// other field managers wrote count, too. Policies and webhooks refuse without naming a field.
    /// Or the whole object is too large for etcd.
    #[error("{detail}")]
    Invalid {
        /// The words of the API server.
        detail: String,
    },
    /// The answer is not what the call asks for, such as an object with a field that cannot be read, or the
    /// page of a proxy. The same call brings the same answer.
    #[error("cannot read the answer of the API server: {detail}")]
    Unreadable {
        /// What is wrong with it.
        detail: String,
    },
    /// A reason that a new read of the object does not remove. Its text is the detail only: the
    /// sentence of the cause is about pull Secrets, and a call may be about another object.
    #[error("{detail}")]
    Because {
        cause: Cause,
        /// The words of the API server, or of the connection to it.
        detail: String,
    },
}

impl Refusal {
    /// Reads an error of the client.
    pub(crate) fn of(error: &kube::Error) -> Self {
        match error {
            // No API server says so. The client takes any object that it cannot read for a refusal.
            kube::Error::Api(status) if status.code == 0 => Self::Unreadable {
                detail: "neither the object nor a refusal".to_owned(),
            },
            kube::Error::Api(status) => Self::of_status(status),
            error @ (kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => Self::Unreadable {
                detail: chain(error),
            },
            other => Self::Because {
                cause: Cause::ApiServerUnreachable,
                detail: chain(other),
            },
        }
    }

    /// No answer within the deadline of the call.
    pub(crate) fn no_answer(limit: Duration) -> Self {
        Self::Because {
            cause: Cause::ApiServerUnreachable,
            detail: format!("no answer within {} s", limit.as_secs()),
        }
    }

    /// The answer ended before it was complete.
    pub(crate) fn broken_off() -> Self {
        Self::Because {
            cause: Cause::ApiServerUnreachable,
            detail: "the answer broke off".to_owned(),
        }
    }

    fn of_status(status: &Status) -> Self {
        let details = status.details.as_ref();
        let has_cause = |reason: &str| {
            let mut causes = details.iter().flat_map(|details| &details.causes);
            causes.any(|cause| cause.reason == reason)
        };
        let names_field = || {
            let mut causes = details.iter().flat_map(|details| &details.causes);
            causes.any(|cause| !cause.field.is_empty())
        };
        // A policy or a webhook puts into its message what it likes, such as the object.
        let said = || scrub(&status.message);
        let is_too_large = || TOO_LARGE.iter().any(|text| status.message.contains(text));
        let kind = details.map(|details| details.kind.as_str());
        let cause = match status.code {
            409 if has_cause("FieldManagerConflict") => return Self::Owned,
            409 => return Self::Changed,
            403 if has_cause("NamespaceTerminating") => Cause::NamespaceTerminating,
            // The quota plugin gives no machine-readable cause.
            403 if status.message.contains("exceeded quota") => Cause::QuotaExceeded,
            // Other plugins answer 403 as well; only RBAC names the user and the verb.
            403 if status.message.contains(" cannot ") => Cause::RbacForbidden,
            401 => Cause::ApiTokenRefused,
            404 if !matches!(kind, None | Some("" | "namespaces")) => return Self::Missing,
            404 => Cause::NamespaceMissing,
            422 if names_field() => return Self::Invalid { detail: said() },
            500 if is_too_large() => return Self::Invalid { detail: said() },
            429 | 500.. => Cause::ApiServerBusy,
            _ => Cause::SecretRefused,
        };
        Self::Because {
            cause,
            detail: said(),
        }
    }

    /// Whether the object is not as it was read. A new read shows what it is now.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Changed | Self::Owned | Self::Missing)
    }

    /// Whether the API server is busy or cannot be reached, so that the same call may succeed soon.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Because { cause, .. } => {
                matches!(cause, Cause::ApiServerBusy | Cause::ApiServerUnreachable)
            }
            _ => false,
        }
    }

    /// The reason in one word. A conflict that remains is contention.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Changed | Self::Owned | Self::Missing => Cause::WriteContended,
            Self::Invalid { .. } => Cause::SecretRefused,
            Self::Unreadable { .. } => Cause::ApiServerUnreachable,
            Self::Because { cause, .. } => *cause,
        }
    }

    /// The cause, and the words of the API server for the log; a conflict has none.
    pub(crate) fn into_parts(self) -> (Cause, String) {
        let cause = self.cause();
        match self {
            Self::Changed | Self::Owned | Self::Missing => (cause, String::new()),
            Self::Invalid { detail }
            | Self::Unreadable { detail }
            | Self::Because { detail, .. } => (cause, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn error(code: u16, message: &str, cause: &str, kind: &str) -> kube::Error {
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
            kind: kind.to_owned(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        };
        let status = Status::failure(message, "")
            .with_code(code)
            .with_details(details);
        kube::Error::Api(status.boxed())
    }

    fn refusal(code: u16, message: &str, cause: &str) -> Refusal {
        Refusal::of(&error(code, message, cause, ""))
    }

    #[test]
    fn refusal_of_api_server_has_its_cause() {
        assert_eq!(
            refusal(409, "the object has been modified", ""),
            Refusal::Changed
        );
        assert_eq!(
            refusal(409, "Apply failed", "FieldManagerConflict"),
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
            (401, "Unauthorized", "", Cause::ApiTokenRefused),
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
            let refusal = refusal(code, message, cause);
            assert_eq!(
                refusal,
                Refusal::Because {
                    cause: wanted,
                    detail: message.to_owned()
                },
                "{code} {message}"
            );
            assert_eq!(
                refusal.is_transient(),
                code >= 429,
                "a retry helps: {code} {message}"
            );
        }
    }

    #[test]
    fn invalid_field_differs_from_a_policy() {
        // A ValidatingAdmissionPolicy names no field.
        let policy = refusal(422, "denied by a policy", "");
        assert!(matches!(policy, Refusal::Because { .. }), "{policy:?}");
        let kube::Error::Api(mut status) = error(422, "too long", "FieldValueTooLong", "") else {
            panic!("no answer of the API server");
        };
        let causes = &mut status.details.as_mut().unwrap().causes;
        causes[0].field = "data".to_owned();
        let invalid = Refusal::of(&kube::Error::Api(status));
        let detail = "too long".to_owned();
        assert_eq!(invalid, Refusal::Invalid { detail });
        assert_eq!(invalid.cause(), Cause::SecretRefused);
        assert!(!invalid.is_conflict() && !invalid.is_transient());
    }

    #[test]
    fn object_too_large_for_etcd_is_no_overload() {
        for detail in [
            "etcdserver: request is too large",
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097999 vs. 2097152)",
        ] {
            let invalid = refusal(500, detail, "");
            let detail = detail.to_owned();
            assert_eq!(invalid, Refusal::Invalid { detail });
        }
    }

    #[test]
    fn unreadable_answer_is_not_transient() {
        let broken = serde_json::from_str::<Status>("{\"code\": \"x\"}").unwrap_err();
        // What the client makes of an object of a watch that it cannot read.
        let object = serde_json::from_str::<Status>("{\"type\": \"ADDED\", \"object\": {}}");
        let object = kube::Error::Api(object.unwrap().boxed());
        for error in [kube::Error::SerdeError(broken), object] {
            let refusal = Refusal::of(&error);
            assert!(matches!(refusal, Refusal::Unreadable { .. }), "{error}");
            assert!(!refusal.is_transient() && !refusal.is_conflict(), "{error}");
            assert_eq!(refusal.cause(), Cause::ApiServerUnreachable);
            assert!(!refusal.into_parts().1.is_empty(), "{error}");
        }
    }

    #[test]
    fn missing_object_differs_from_missing_namespace() {
        let missing = |kind| Refusal::of(&error(404, "not found", "", kind));
        assert_eq!(missing("secrets"), Refusal::Missing);
        assert_eq!(missing("namespaces").cause(), Cause::NamespaceMissing);
        assert!(missing("secrets").is_conflict() && !missing("namespaces").is_conflict());
    }
}
