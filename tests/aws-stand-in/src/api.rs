//! The AWS endpoint: tells ECR calls from STS calls, counts them, applies faults, and authenticates the caller.
//!
//! Faults of the transport (delay, hang, reset) apply to every call. Faults that answer apply only to calls with a valid
//! signature, so that a fault never hides a wrong key.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::{Bytes, to_bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use tokio::time::sleep;

use crate::{
    authenticate::{Refusal, authenticate, authorization},
    calls::CallKey,
    clock, ecr, encoding,
    faults::{Effects, Subject},
    hostile,
    identity::{Principal, account_of},
    oidc,
    server::Reset,
    sigv4::Signable,
    spec::{Action, Fault, REDIRECTED},
    state::{Shared, State as Everything},
    sts,
    wire::{ApiError, Protocol, answer},
};

const ECR_TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.";
/// 256 KiB, because the longest valid call is a form with a web identity token of 20,000 characters.
const BODY_LIMIT: usize = 256 * 1024;

/// A call as received.
struct Call {
    parts: Parts,
    body: Bytes,
    protocol: Protocol,
    /// `None` for an action that the service does not have.
    action: Option<Action>,
    action_name: String,
    /// The form fields of an STS call.
    fields: Vec<(String, String)>,
    /// `-` if the call names no region.
    region: String,
}

/// Answers every request outside `/v2/` and `/admin/`.
pub(crate) async fn call(
    State(shared): State<Shared>,
    Extension(reset): Extension<Reset>,
    request: axum::extract::Request,
) -> Response {
    if request.uri().path() == REDIRECTED {
        let redirected = CallKey {
            principal: "unknown".to_owned(),
            region: "-".to_owned(),
            action: "Redirected".to_owned(),
        };
        shared.lock().calls.arrived(&redirected);
    }
    if request.method() != Method::POST {
        return (StatusCode::NOT_FOUND, "ECR and STS answer only POST\n").into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is cut off or too large\n",
        )
            .into_response();
    };
    let call = Call::read(parts, body);
    let (key, effects) = arrive(&mut shared.lock(), &call);

    sleep(Duration::from_millis(effects.delay_milliseconds)).await;
    match effects.transport {
        Some(Fault::Hang) => match std::future::pending::<Infallible>().await {},
        Some(_) => {
            shared.lock().calls.ended(&key, false);
            match reset.now().await {}
        }
        None => {}
    }

    call.fetch_keys(&shared).await;
    let mut state = shared.lock();
    let now = state.now(&call.region);
    let result = call.perform(&mut state, &effects);
    state.calls.ended(&key, result.is_ok());
    drop(state);

    let mut response = match (result, effects.hostile) {
        (Ok(body), Some(kind)) => hostile::answer(kind, call.protocol, &body, &call.quoted()),
        (Ok(body), None) if effects.malformed => {
            let half = body.get(..body.len() / 2).unwrap_or_default().to_owned();
            answer(call.protocol, StatusCode::OK, half)
        }
        (Ok(body), None) => answer(call.protocol, StatusCode::OK, body),
        (Err(error), _) => error.into_response(call.protocol),
    };
    // AWS clients correct their clock by this header.
    if let Ok(date) = HeaderValue::from_str(&clock::http_date(now)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Counts the call and finds the faults that apply to it.
fn arrive(state: &mut Everything, call: &Call) -> (CallKey, Effects) {
    let principal = call.presumed_principal(state);
    let key = CallKey {
        principal: principal
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |principal| principal.arn.clone()),
        region: call.region.clone(),
        action: call.action_name.clone(),
    };
    state.calls.arrived(&key);
    let effects = call.action.map(|action| {
        let subject = Subject {
            region: &call.region,
            principal: principal.as_ref(),
            action,
        };
        state.faults.apply(subject)
    });
    (key, effects.unwrap_or_default())
}

impl Call {
    fn read(parts: Parts, body: Bytes) -> Self {
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let fields = if target.is_some() {
            Vec::new()
        } else {
            encoding::form_fields(&String::from_utf8_lossy(&body))
        };
        let (protocol, action_name) = match target {
            Some(target) => (
                Protocol::Json,
                target.strip_prefix(ECR_TARGET).unwrap_or(target).to_owned(),
            ),
            None => (
                Protocol::Query,
                sts::field(&fields, "Action").unwrap_or("-").to_owned(),
            ),
        };
        let action = match (protocol, action_name.as_str()) {
            (Protocol::Json, "GetAuthorizationToken") => Some(Action::GetAuthorizationToken),
            (Protocol::Query, "GetCallerIdentity") => Some(Action::GetCallerIdentity),
            (Protocol::Query, "AssumeRole") => Some(Action::AssumeRole),
            (Protocol::Query, "AssumeRoleWithWebIdentity") => {
                Some(Action::AssumeRoleWithWebIdentity)
            }
            _ => None,
        };
        let mut call = Self {
            parts,
            body,
            protocol,
            action,
            action_name,
            fields,
            region: String::new(),
        };
        call.region = call.named_region();
        call
    }

    /// The request in one line, with everything in it, as a hostile refusal quotes it.
    fn quoted(&self) -> String {
        hostile::quoted(&self.parts, &self.body)
    }

    fn signable(&self) -> Signable<'_> {
        Signable {
            method: self.parts.method.as_str(),
            path: self.parts.uri.path(),
            query: self.parts.uri.query().unwrap_or_default(),
            headers: &self.parts.headers,
            body: &self.body,
        }
    }

    /// The region of the signature's scope; for unsigned calls, that of the path `/in/REGION/`.
    fn named_region(&self) -> String {
        let in_path = || {
            self.parts
                .uri
                .path()
                .strip_prefix("/in/")?
                .split('/')
                .next()
        };
        authorization(self.signable())
            .ok()
            .map(|authorization| authorization.region)
            .or_else(in_path)
            .filter(|region| !region.is_empty())
            .unwrap_or("-")
            .to_owned()
    }

    /// The principal that the call claims, before any check. Counts and faults use it.
    fn presumed_principal(&self, state: &Everything) -> Option<Principal> {
        if self.action == Some(Action::AssumeRoleWithWebIdentity) {
            let role = sts::field(&self.fields, "RoleArn")?.to_owned();
            let account = account_of(&role)?.to_owned();
            return Some(Principal {
                account,
                arn: role.clone(),
                role_arn: Some(role),
                user_id: String::new(),
            });
        }
        let authorization = authorization(self.signable()).ok()?;
        Some(
            state
                .identities
                .key(authorization.access_key_id)?
                .principal
                .clone(),
        )
    }

    /// Fetches what verifies a web identity. Nothing of the state is locked meanwhile.
    async fn fetch_keys(&self, shared: &Shared) {
        let field = |name| sts::field(&self.fields, name);
        if self.action == Some(Action::AssumeRoleWithWebIdentity)
            && let (Some(role), Some(token)) = (field("RoleArn"), field("WebIdentityToken"))
        {
            let now = shared.lock().now(&self.region);
            oidc::fetch_keys(shared, role, token, now).await;
        }
    }

    fn perform(&self, state: &mut Everything, effects: &Effects) -> Result<String, ApiError> {
        let Some(action) = self.action else {
            return Err(self.no_such_action());
        };
        let caller = match self.authenticate(state, action) {
            Ok(caller) => caller,
            Err(refusal) => return Err(ApiError::refusal(self.protocol, &refusal)),
        };
        if let Some(error) = effects
            .refusal
            .as_ref()
            .and_then(|fault| ApiError::fault(self.protocol, fault))
        {
            return Err(error);
        }
        let now = state.now(&self.region);
        match (self.protocol, caller) {
            (Protocol::Json, Some(caller)) => {
                let context = ecr::Context {
                    region: &self.region,
                    now,
                    effects,
                };
                ecr::get_authorization_token(state, &caller, &self.body, context)
            }
            (_, caller) => {
                let context = sts::Context {
                    fields: &self.fields,
                    region: &self.region,
                    now,
                    effects,
                };
                sts::perform(state, action, caller.as_ref(), context)
            }
        }
    }

    /// The caller; `None` for `AssumeRoleWithWebIdentity`, which is not signed.
    fn authenticate(
        &self,
        state: &Everything,
        action: Action,
    ) -> Result<Option<Principal>, Refusal> {
        if action == Action::AssumeRoleWithWebIdentity {
            return Ok(None);
        }
        let service = match self.protocol {
            Protocol::Json => "ecr",
            Protocol::Query => "sts",
        };
        authenticate(
            &state.identities,
            self.signable(),
            service,
            state.now(&self.region),
        )
        .map(Some)
    }

    fn no_such_action(&self) -> ApiError {
        match self.protocol {
            Protocol::Json => ApiError::new(400, "UnknownOperationException", ""),
            Protocol::Query => {
                let version = sts::field(&self.fields, "Version").unwrap_or("-");
                let message = format!(
                    "Could not find operation {} for version {version}",
                    self.action_name
                );
                ApiError::new(400, "InvalidAction", message)
            }
        }
    }
}
