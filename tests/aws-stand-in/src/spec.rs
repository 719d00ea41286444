//! The bodies of the admin API, shared by the server and [`crate::client`].
//!
//! Reading is strict: an unknown field is an error that names it, so that a misspelt fault is not a test that passes.

use serde::{Deserialize, Serialize};

/// What goes wrong. In JSON: `"hang"`, `{"delay": {"milliseconds": 500}}`, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Tokens (or, with an STS action, sessions) live this long instead of 12 h (1 h); may be negative.
    /// Without an action it concerns `GetAuthorizationToken` only.
    Lifetime {
        /// From now, in seconds.
        seconds: i64,
    },
    /// `expiresAt` says this, while the token lives its usual life. With a negative number: what moto does.
    StatedLifetime {
        /// From now, in seconds.
        seconds: i64,
    },
    /// `expiresAt` is left out of the answer, which the API model allows.
    NoExpiry,
    /// The answer comes late.
    Delay {
        /// Added to the answer's time.
        milliseconds: u64,
    },
    /// The connection stays open and nothing is ever said.
    Hang,
    /// The connection is cut by a TCP reset.
    Reset,
    /// The call is refused, in the shape of the protocol it came in.
    Error {
        /// Such as `ServerException`.
        code: String,
        /// HTTP status.
        status: u16,
        /// For people.
        message: String,
    },
    /// `ThrottlingException` with HTTP 400 (STS: `Throttling`; the registry: `TOOMANYREQUESTS` with 429).
    Throttling,
    /// `ThrottleException` with HTTP 429, which the Rust SDK does not retry.
    ThrottleException,
    /// HTTP 200 with nothing in it: `authorizationData` is an empty list, an STS result has no credentials.
    Empty,
    /// HTTP 200 with a body that breaks off.
    Malformed,
}

/// The calls a fault can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are AWS's")]
pub enum Action {
    GetAuthorizationToken,
    GetCallerIdentity,
    AssumeRole,
    AssumeRoleWithWebIdentity,
    /// Not of AWS: everything asked of the registry under `/v2/`.
    Pull,
}

impl Action {
    /// As AWS and the counts write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetAuthorizationToken => "GetAuthorizationToken",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::Pull => "Pull",
        }
    }
}

/// Body of `PUT /admin/faults`. What is left out matches everything, except that the registry is only touched by
/// `"action": "Pull"`. A rule with the same region, principal, action and kind of fault is replaced.
/// Where several rules set the same thing, the one that names more wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The region of the signature's scope, or of the registry's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A glob for the caller's ARN, or for the ARN of the role that it has assumed (or asks for with a web identity).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// One call only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The rule is gone after it has been applied this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

/// Body of `PUT /admin/clock`: how far this stand-in's clock is ahead of the system's. A region's offset is added to
/// the global one. It moves everything: signatures, sessions, tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// May be negative.
    pub offset_seconds: i64,
}

/// Body of `PUT /admin/principals`: a user with a long-term key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Such as `AKIA…`; a user with the same id is replaced.
    pub access_key_id: String,
    /// Any text.
    pub secret_access_key: String,
    /// Twelve digits.
    pub account: String,
    /// Such as `arn:aws:iam::123456789012:user/name`.
    pub arn: String,
}

/// Body of `PUT /admin/roles`: a role that can be assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Such as `arn:aws:iam::123456789012:role/name`; a role with the same ARN is replaced.
    pub arn: String,
    /// Callers of `AssumeRole` must send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Who may call `AssumeRole`: account numbers, or globs for the caller's ARN or for that of its role.
    #[serde(default)]
    pub trusts: Vec<String>,
    /// Who may call `AssumeRoleWithWebIdentity`.
    #[serde(default)]
    pub web_identities: Vec<WebIdentity>,
    /// `MaxSessionDuration`: 3600 to 43200.
    #[serde(default = "default_session_seconds")]
    pub max_session_seconds: i64,
}

fn default_session_seconds() -> i64 {
    3600
}

/// A subject that a role trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// The token's `iss`, compared exactly.
    pub issuer: String,
    /// A glob for the token's `sub`.
    pub subject: String,
}

/// Body of `PUT /admin/policy`. The one that names more (principal before region) holds alone; with none at all
/// everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The exact ARN of a user or role; everybody if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Refuses the call that mints.
    #[serde(default)]
    pub deny_get_authorization_token: bool,
    /// Refuses pulls.
    #[serde(default)]
    pub pull: PullRights,
}

/// Globs over `ACCOUNT/REPOSITORY`; a `*` also matches slashes. Deny wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRights {
    /// Everything if left out.
    #[serde(default = "everything")]
    pub allow: Vec<String>,
    /// Nothing if left out.
    #[serde(default)]
    pub deny: Vec<String>,
}

impl Default for PullRights {
    fn default() -> Self {
        Self {
            allow: everything(),
            deny: Vec::new(),
        }
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Body of `PUT /admin/absent`: a repository, or one tag of it, that does not exist. Every other one does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its name, without the host.
    pub repository: String,
    /// The whole repository if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Body of `POST /admin/expire`: what is out expires now, whatever its `expiresAt` said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expire {
    /// Registry tokens of one region only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A glob for the ARN, or for that of the assumed role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// STS sessions too; they belong to no region.
    #[serde(default)]
    pub sessions: bool,
}

/// One row of `GET /admin/calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCount {
    /// The caller's ARN; `unknown` for a key that does not exist; the role for a web identity.
    pub principal: String,
    /// `-` if the call named none.
    pub region: String,
    /// Such as `AssumeRole`.
    pub action: String,
    /// All that arrived. What is neither succeeded nor failed is still open, or was given up by the caller.
    pub total: u64,
    /// Answered with HTTP 200, empty and malformed answers included.
    pub succeeded: u64,
    /// Refused or cut.
    pub failed: u64,
}

/// One row of `GET /admin/pulls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullCount {
    /// Of the registry asked.
    pub region: String,
    /// Of the registry asked.
    pub account: String,
    /// Its name, without the host.
    pub repository: String,
    /// `manifest` or `blob`.
    pub object: String,
    /// What the registry made of it.
    pub verdict: Verdict,
    /// How often.
    pub total: u64,
}

/// What the registry makes of a request. Also sent with each answer, in the header [`VERDICT_HEADER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 200: the credential holds and the object is there.
    Accepted,
    /// 401: no Basic credentials.
    Unauthenticated,
    /// 400: credentials that ECR has not minted.
    InvalidToken,
    /// 403: minted in another region. Clients are told that the token has expired, as ECR does.
    WrongRegion,
    /// 403.
    Expired,
    /// 403: the principal has no right to this repository.
    Denied,
    /// 404: no such repository.
    NameUnknown,
    /// 404: no such tag or manifest.
    ManifestUnknown,
    /// 404: no such blob.
    BlobUnknown,
    /// Whatever a fault for `Pull` says.
    Faulted,
}

/// The response header that carries the [`Verdict`].
pub const VERDICT_HEADER: &str = "x-stand-in-verdict";

/// Answer of `GET /admin/secrets`: everything that must not show in a log, from the start of the process.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Registry passwords.
    pub passwords: Vec<String>,
    /// The same as `GetAuthorizationToken` answered them, base64 of `AWS:PASSWORD`.
    pub authorization_tokens: Vec<String>,
    /// Of users and sessions.
    pub secret_access_keys: Vec<String>,
    /// Of sessions.
    pub session_tokens: Vec<String>,
    /// That callers have presented.
    pub web_identity_tokens: Vec<String>,
}

impl Secrets {
    /// All of them, whatever they are.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self {
            passwords,
            authorization_tokens,
            secret_access_keys,
            session_tokens,
            web_identity_tokens,
        } = self;
        [
            passwords,
            authorization_tokens,
            secret_access_keys,
            session_tokens,
            web_identity_tokens,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }
}
