//! The bodies of the admin API, shared by the server and [`crate::client`].
//!
//! Parsing is strict: an unknown field is an error that names it. Otherwise a test with a misspelt fault would pass.

use serde::{Deserialize, Serialize};

/// A fault. In JSON: `"hang"`, `{"delay": {"milliseconds": 500}}`, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Another lifetime of tokens than 12 h; with an STS action, another lifetime of sessions than 1 h.
    /// Without an action, only for `GetAuthorizationToken`.
    Lifetime {
        /// Seconds from now; may be negative.
        seconds: i64,
    },
    /// Another `expiresAt`, while the token keeps its usual lifetime. With a negative number: as moto answers.
    StatedLifetime {
        /// Seconds from now; may be negative.
        seconds: i64,
    },
    /// An answer without `expiresAt`, which the API model allows.
    NoExpiry,
    /// A late answer.
    Delay {
        /// Milliseconds added to the answer's time.
        milliseconds: u64,
    },
    /// No answer, while the connection stays open.
    Hang,
    /// A TCP reset of the connection.
    Reset,
    /// A refusal in the call's protocol.
    Error {
        /// Code such as `ServerException`.
        code: String,
        /// HTTP status.
        status: u16,
        /// Message for people.
        message: String,
    },
    /// `ThrottlingException` with HTTP 400 (STS: `Throttling`; the registry: `TOOMANYREQUESTS` with 429).
    Throttling,
    /// `ThrottleException` with HTTP 429, which the Rust SDK does not retry.
    ThrottleException,
    /// HTTP 200 without content: `authorizationData` is an empty list, an STS result has no credentials, and the keys of
    /// the metadata service are empty.
    Empty,
    /// HTTP 200 with a truncated body.
    Malformed,
    /// An answer that no service of AWS gives, with the credentials of the real answer in it.
    Hostile {
        /// Kind of answer.
        answer: HostileAnswer,
    },
}

/// What is wrong with a hostile answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostileAnswer {
    /// The connection ends in the middle of the body.
    Truncated,
    /// The body is complete and no parser takes it.
    Garbage,
    /// HTTP 307 to [`REDIRECTED`], with the credentials in the address.
    Redirect,
    /// A page of HTML.
    Html,
    /// HTTP 200 without a body.
    Blank,
    /// The real answer with 8 MiB of white space.
    Huge,
    /// A refusal whose message quotes the request and the real answer.
    Quoting,
}

impl HostileAnswer {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Truncated,
        Self::Garbage,
        Self::Redirect,
        Self::Html,
        Self::Blank,
        Self::Huge,
        Self::Quoting,
    ];
}

/// The path that [`HostileAnswer::Redirect`] leads to. The counts have its requests under the action `Redirected`.
pub const REDIRECTED: &str = "/redirected";

/// The action that a fault can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are AWS's")]
pub enum Action {
    GetAuthorizationToken,
    GetCallerIdentity,
    AssumeRole,
    AssumeRoleWithWebIdentity,
    /// Not an action of AWS: every request to the registry under `/v2/`.
    Pull,
    /// Not an action of AWS: container credentials under `/credentials/NAME`. The name counts as region.
    ContainerCredentials,
    /// Not an action of AWS: instance metadata under `/metadata/NAME/`. The name counts as region.
    InstanceMetadata,
}

impl Action {
    /// The name that AWS and the counts use.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetAuthorizationToken => "GetAuthorizationToken",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::Pull => "Pull",
            Self::ContainerCredentials => "ContainerCredentials",
            Self::InstanceMetadata => "InstanceMetadata",
        }
    }
}

/// Body of `PUT /admin/faults`. An absent field matches everything, except that only `"action": "Pull"` matches the
/// registry. The rule replaces one with the same region, principal, action and kind of fault.
/// Of several rules with the same kind of fault, the narrowest wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Region of the signature's scope, or of the registry's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Glob for the caller's ARN, or for the ARN of the role that it has assumed or requests with a web identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The only action to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Number of calls after which the rule ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The fault.
    pub fault: Fault,
}

/// Body of `PUT /admin/clock`: how far this stand-in's clock is ahead of the system's. A region's offset is added to
/// the global offset. The clock decides on signatures, sessions and tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Seconds ahead of the system's clock; may be negative.
    pub offset_seconds: i64,
}

/// Body of `PUT /admin/principals`: a user with a long-term key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Id such as `AKIA…`; a user with the same id is replaced.
    pub access_key_id: String,
    /// Any text.
    pub secret_access_key: String,
    /// Twelve digits.
    pub account: String,
    /// ARN such as `arn:aws:iam::123456789012:user/name`.
    pub arn: String,
}

/// Body of `PUT /admin/roles`: a role that can be assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// ARN such as `arn:aws:iam::123456789012:role/name`; a role with the same ARN is replaced.
    pub arn: String,
    /// External id that callers of `AssumeRole` must send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The callers that may call `AssumeRole`: account numbers, or globs for the ARN of the caller or its role.
    #[serde(default)]
    pub trusts: Vec<String>,
    /// The identities that may call `AssumeRoleWithWebIdentity`.
    #[serde(default)]
    pub web_identities: Vec<WebIdentity>,
    /// `MaxSessionDuration` in seconds: 3600 to 43200.
    #[serde(default = "default_session_seconds")]
    pub max_session_seconds: i64,
}

fn default_session_seconds() -> i64 {
    3600
}

/// A web identity that a role trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// The token's exact `iss`.
    pub issuer: String,
    /// Glob for the token's `sub`.
    pub subject: String,
}

/// Body of `PUT /admin/oidc-providers`: an OIDC provider of IAM. It has all tokens of its issuer verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcProvider {
    /// Twelve digits.
    pub account: String,
    /// The token's exact `iss`: an HTTPS URL, under which the documents are.
    pub issuer: String,
    /// Audiences that a token may have.
    pub client_ids: Vec<String>,
    /// CA of the server with the documents, in PEM.
    pub authority: String,
}

/// Body of `PUT /admin/policy`. Only the narrowest policy (principal before region) applies. Without a policy,
/// everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Exact ARN of a user or role; every principal if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether `GetAuthorizationToken` is refused.
    #[serde(default)]
    pub deny_get_authorization_token: bool,
    /// Repositories that may be pulled.
    #[serde(default)]
    pub pull: PullRights,
}

/// Globs over `ACCOUNT/REPOSITORY`; a `*` also matches slashes. Deny wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRights {
    /// Allowed repositories; every repository if absent.
    #[serde(default = "everything")]
    pub allow: Vec<String>,
    /// Refused repositories; none if absent.
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

/// Body of `PUT /admin/absent`: a repository, or one of its tags, that does not exist. All others exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// All regions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Repository name without the host.
    pub repository: String,
    /// Tag; the whole repository if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Body of `POST /admin/expire`: tokens and sessions that expire now, even if their `expiresAt` is later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expire {
    /// The only region whose registry tokens expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Glob for the ARN of the principal or its assumed role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Whether STS sessions expire too; they belong to no region.
    #[serde(default)]
    pub sessions: bool,
}

/// One row of `GET /admin/calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCount {
    /// ARN of the caller; `unknown` for a key that does not exist; the role for a web identity.
    pub principal: String,
    /// Region; `-` if the call names none.
    pub region: String,
    /// Action such as `AssumeRole`.
    pub action: String,
    /// Calls that arrived. A call that has neither succeeded nor failed is still open, or its caller gave up.
    pub total: u64,
    /// Calls answered with HTTP 200, including empty and malformed answers.
    pub succeeded: u64,
    /// Calls refused or reset.
    pub failed: u64,
}

/// One row of `GET /admin/pulls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullCount {
    /// Region of the registry.
    pub region: String,
    /// Account of the registry.
    pub account: String,
    /// Repository name without the host.
    pub repository: String,
    /// `manifest` or `blob`.
    pub object: String,
    /// Verdict of the registry.
    pub verdict: Verdict,
    /// Number of requests.
    pub total: u64,
}

/// The registry's verdict on a request. Each answer carries it in the header [`VERDICT_HEADER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 200: the credential is valid and the object exists.
    Accepted,
    /// 401: no Basic credentials.
    Unauthenticated,
    /// 400: credentials that ECR has not minted.
    InvalidToken,
    /// 403: minted in another region. The message says that the token has expired, as ECR's does.
    WrongRegion,
    /// 403: an expired token.
    Expired,
    /// 403: the principal has no right to this repository.
    Denied,
    /// 404: no such repository.
    NameUnknown,
    /// 404: no such tag or manifest.
    ManifestUnknown,
    /// 404: no such blob.
    BlobUnknown,
    /// The status that a fault for `Pull` sets.
    Faulted,
}

/// The response header that carries the [`Verdict`].
pub const VERDICT_HEADER: &str = "x-stand-in-verdict";

/// Answer of `GET /admin/secrets`: every text that must not appear in a log, since the start of the process.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Registry passwords.
    pub passwords: Vec<String>,
    /// The same passwords as in the answers of `GetAuthorizationToken`: base64 of `AWS:PASSWORD`.
    pub authorization_tokens: Vec<String>,
    /// Secret keys of users and sessions.
    pub secret_access_keys: Vec<String>,
    /// Tokens of sessions.
    pub session_tokens: Vec<String>,
    /// Tokens that callers have presented.
    pub web_identity_tokens: Vec<String>,
    /// Ids of the keys of users and sessions. AWS does not call them secret, but they name a key to an attacker.
    pub access_key_ids: Vec<String>,
}

impl Secrets {
    /// The secrets of every kind.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self {
            passwords,
            authorization_tokens,
            secret_access_keys,
            session_tokens,
            web_identity_tokens,
            access_key_ids,
        } = self;
        [
            passwords,
            authorization_tokens,
            secret_access_keys,
            session_tokens,
            web_identity_tokens,
            access_key_ids,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }
}
