//! One attempt: a request, and the expected verdict of the API server.

use http::{Method, header};
use serde_json::Value;

/// Guard of Secrets.
pub const SECRETS: &str = "ecr-pull-secrets-guard-secrets";
/// Guard of our registration.
pub const REGISTRATION: &str = "ecr-pull-secrets-guard-registration";
/// Guard of events.
pub const EVENTS: &str = "ecr-pull-secrets-guard-events";
/// Guard of our Lease.
pub const LEASE: &str = "ecr-pull-secrets-guard-lease";
/// Guard of everything else, which an installation has only with `guard.rest`.
pub const REST: &str = "ecr-pull-secrets-guard-rest";
/// End of the only sentence of `REST`.
pub const NOTHING_ELSE: &str = "and nothing else";

/// Which barrier decided, and how. The API server's own words show it, so that no row passes for
/// another reason.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The API server did it, or would have without the dry run.
    Allowed,
    /// RBAC denies it.
    Rbac,
    /// This guard policy denies it, with a sentence that ends like this.
    Guard(&'static str, &'static str),
    /// The API server itself refuses, with this code and these words.
    Refused(u16, &'static str),
}

/// Body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// No body.
    None,
    /// This value, with this content type.
    Json(&'static str, Value),
    /// The object that is stored at the path, unchanged.
    AsStored,
}

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The attempt, in words.
    pub attempt: String,
    /// Method.
    pub method: Method,
    /// Path, with a query if needed.
    pub path: String,
    /// Body.
    pub body: Body,
    /// Further headers.
    pub headers: &'static [(&'static str, &'static str)],
    dry_run: bool,
}

/// A row of the table: a request, and its verdict for each account.
#[derive(Clone, Debug)]
pub struct Row {
    /// The request.
    pub request: Request,
    /// Verdict with our token.
    pub ours: Verdict,
    /// Verdict with every right bound to our account.
    pub with_every_right: Verdict,
    /// Verdict with our rights on an account that the guards do not bind.
    pub without_guards: Verdict,
    /// Guard that denies it with every right and `guard.rest`, and the end of its sentence.
    pub with_rest: Option<(&'static str, &'static str)>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, attempt: &str, path: &str) -> Self {
        Self {
            attempt: attempt.to_owned(),
            path: path.to_owned(),
            body: Body::None,
            headers: &[],
            dry_run: method != Method::GET,
            method,
        }
    }

    /// The same with further headers.
    pub fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    fn with_body(self, content_type: &'static str, body: Value) -> Self {
        Self {
            body: Body::Json(content_type, body),
            ..self
        }
    }

    /// Content type, if there is a body.
    pub fn content_type(&self) -> Option<(header::HeaderName, &'static str)> {
        let content_type = match self.body {
            Body::None => return None,
            Body::Json(content_type, _) => content_type,
            Body::AsStored => "application/json",
        };
        Some((header::CONTENT_TYPE, content_type))
    }

    /// The same, without dry run.
    pub fn for_real(self) -> Self {
        Self {
            dry_run: false,
            ..self
        }
    }

    /// Path and query; a request that may write is a dry run.
    ///
    /// A dry run goes through authorization, validation and admission, with the guards. Only the write is
    /// omitted. So no attempt disturbs another one or a concurrent test, even if it succeeds.
    pub fn target(&self) -> String {
        if !self.dry_run {
            return self.path.clone();
        }
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}dryRun=All", self.path)
    }

    /// We may do it, and so may any account with our rights.
    pub fn allowed(self) -> Row {
        self.row(Verdict::Allowed, Verdict::Allowed, Verdict::Allowed)
    }

    /// RBAC denies it. `granted` is the verdict if the right is bound to our account.
    pub fn no_right(self, granted: Verdict) -> Row {
        self.row(Verdict::Rbac, granted, Verdict::Rbac)
    }

    /// RBAC denies it. `granted` is the verdict if the right is bound to our account, unless the
    /// installation has the guard of everything else.
    pub fn further_right(self, granted: Verdict) -> Row {
        self.no_right(granted).but_with_rest(REST, NOTHING_ELSE)
    }

    /// RBAC admits it, and only the guard denies it.
    pub fn guarded(self, policy: &'static str, says: &'static str) -> Row {
        let denied = Verdict::Guard(policy, says);
        self.row(denied.clone(), denied, Verdict::Allowed)
    }

    /// The API server refuses it from every account.
    pub fn refused(self, code: u16, says: &'static str) -> Row {
        let refused = Verdict::Refused(code, says);
        self.row(refused.clone(), refused.clone(), refused)
    }

    fn row(self, ours: Verdict, with_every_right: Verdict, without_guards: Verdict) -> Row {
        Row {
            request: self,
            ours,
            with_every_right,
            without_guards,
            with_rest: None,
        }
    }
}

impl Row {
    /// With `guard.rest`, this guard denies it to an account with every right.
    pub fn but_with_rest(self, policy: &'static str, says: &'static str) -> Self {
        Self {
            with_rest: Some((policy, says)),
            ..self
        }
    }
}

/// A read.
pub fn get(attempt: &str, path: &str) -> Request {
    Request::new(Method::GET, attempt, path)
}

/// A deletion.
pub fn delete(attempt: &str, path: &str) -> Request {
    Request::new(Method::DELETE, attempt, path)
}

/// A creation.
pub fn post(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::POST, attempt, path).with_body("application/json", body)
}

/// A replacement of an object with itself.
pub fn put_as_stored(attempt: &str, path: &str) -> Request {
    Request {
        body: Body::AsStored,
        ..Request::new(Method::PUT, attempt, path)
    }
}

/// Server-side apply, as the program sends it.
pub fn apply(attempt: &str, path: &str, body: Value) -> Request {
    let path = format!("{path}?fieldManager=ecr-pull-secrets");
    Request::new(Method::PATCH, attempt, &path).with_body("application/apply-patch+yaml", body)
}

/// The same, with force over other managers' fields.
pub fn force_apply(attempt: &str, path: &str, body: Value) -> Request {
    let mut request = apply(attempt, path, body);
    request.path.push_str("&force=true");
    request
}

/// A JSON patch.
pub fn json_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path).with_body("application/json-patch+json", body)
}

/// A merge patch.
pub fn merge_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path).with_body("application/merge-patch+json", body)
}

/// A strategic merge patch.
pub fn strategic_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path)
        .with_body("application/strategic-merge-patch+json", body)
}

/// Merges an overlay into a value, as a merge patch does.
pub fn lay_over(value: &mut Value, overlay: &Value) {
    let Value::Object(fields) = overlay else {
        *value = overlay.clone();
        return;
    };
    for (name, field) in fields {
        if field.is_null() {
            value.as_object_mut().expect("an object").remove(name);
        } else {
            lay_over(&mut value[name], field);
        }
    }
}
