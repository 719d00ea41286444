//! One attempt: a request, and what the API server is to say to it.

use http::{Method, header};
use serde_json::Value;

/// The guard over Secrets.
pub const SECRETS: &str = "ecr-pull-secrets-guard-secrets";
/// The guard over our registration.
pub const REGISTRATION: &str = "ecr-pull-secrets-guard-registration";
/// The guard over events.
pub const EVENTS: &str = "ecr-pull-secrets-guard-events";
/// The guard over everything else.
pub const REST: &str = "ecr-pull-secrets-guard-rest";
/// How the only sentence of `REST` ends.
pub const NOTHING_ELSE: &str = "and nothing else";

/// Who decided, and what. Told by the API server's own words, so that nothing passes for another
/// reason than the one that is meant.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Done, or for a dry run: it would have been.
    Allowed,
    /// RBAC says that this user cannot.
    Rbac,
    /// This guard policy denies, with a sentence that ends like this.
    Guard(&'static str, &'static str),
    /// Neither of the two: the API server itself refuses, with this code and in these words.
    Refused(u16, &'static str),
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// This, under this content type.
    Json(&'static str, Value),
    /// What is stored at the path just then, unchanged.
    AsStored,
}

/// A request in the words of HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is tried, in words.
    pub attempt: String,
    /// Its method.
    pub method: Method,
    /// Its path, with a query if it needs one.
    pub path: String,
    /// Its body.
    pub body: Body,
    /// Further headers.
    pub headers: &'static [(&'static str, &'static str)],
    dry_run: bool,
}

/// A row of the table: a request, and its verdict by who sends it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is sent.
    pub request: Request,
    /// With our token.
    pub ours: Verdict,
    /// If every right there is were bound to our account.
    pub with_every_right: Verdict,
    /// With our rights, but an account that the guards do not bind.
    pub without_guards: Verdict,
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

    /// The content type, if there is a body.
    pub fn content_type(&self) -> Option<(header::HeaderName, &'static str)> {
        let content_type = match self.body {
            Body::None => return None,
            Body::Json(content_type, _) => content_type,
            Body::AsStored => "application/json",
        };
        Some((header::CONTENT_TYPE, content_type))
    }

    /// The same, and not as a dry run.
    pub fn in_earnest(self) -> Self {
        Self {
            dry_run: false,
            ..self
        }
    }

    /// The path and query to send it to; for whatever may write, that of a dry run.
    ///
    /// A dry run goes through authorization, validation and admission, guards included, all the
    /// same; only the last step, the write, is left out. So no attempt disturbs another, or a test
    /// that runs at the same time on the same objects, even where it is meant to succeed.
    pub fn target(&self) -> String {
        if !self.dry_run {
            return self.path.clone();
        }
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}dryRun=All", self.path)
    }

    /// We may do it, and so may everybody with our rights.
    pub fn allowed(self) -> Row {
        self.row(Verdict::Allowed, Verdict::Allowed, Verdict::Allowed)
    }

    /// RBAC denies it; `granted` is what comes if somebody binds the right to our account.
    pub fn no_right(self, granted: Verdict) -> Row {
        self.row(Verdict::Rbac, granted, Verdict::Rbac)
    }

    /// RBAC lets it through. It takes the guard to stop it.
    pub fn guarded(self, policy: &'static str, says: &'static str) -> Row {
        let denied = Verdict::Guard(policy, says);
        self.row(denied.clone(), denied, Verdict::Allowed)
    }

    /// The API server takes it from nobody.
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
        }
    }
}

/// Reads.
pub fn get(attempt: &str, path: &str) -> Request {
    Request::new(Method::GET, attempt, path)
}

/// Deletes.
pub fn delete(attempt: &str, path: &str) -> Request {
    Request::new(Method::DELETE, attempt, path)
}

/// Creates.
pub fn post(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::POST, attempt, path).with_body("application/json", body)
}

/// Replaces an object by itself.
pub fn put_as_stored(attempt: &str, path: &str) -> Request {
    Request {
        body: Body::AsStored,
        ..Request::new(Method::PUT, attempt, path)
    }
}

/// Server-side apply, as the program does it.
pub fn apply(attempt: &str, path: &str, body: Value) -> Request {
    let path = format!("{path}?fieldManager=ecr-pull-secrets");
    Request::new(Method::PATCH, attempt, &path).with_body("application/apply-patch+yaml", body)
}

/// The same, fields of others included.
pub fn force_apply(attempt: &str, path: &str, body: Value) -> Request {
    let mut request = apply(attempt, path, body);
    request.path.push_str("&force=true");
    request
}

/// Patches by operations.
pub fn json_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path).with_body("application/json-patch+json", body)
}

/// Patches by overlaying.
pub fn merge_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path).with_body("application/merge-patch+json", body)
}

/// Patches by overlaying, lists by key.
pub fn strategic_patch(attempt: &str, path: &str, body: Value) -> Request {
    Request::new(Method::PATCH, attempt, path)
        .with_body("application/strategic-merge-patch+json", body)
}

/// A JSON merge patch.
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
