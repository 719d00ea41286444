//! STS: the caller's identity, and sessions for the callers that a role trusts.

use jiff::Timestamp;

use crate::{
    clock, ecr_host, encoding,
    faults::Effects,
    identity::{Key, Principal, account_of},
    spec::{self, Action},
    state::State,
    sts_checks::{self, Asked},
    web_identity::Jwt,
    wire::{ApiError, request_id},
};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const VERSION: &str = "2011-06-15";
/// Random bytes of a session token; real tokens have several hundred characters and no fixed size.
const SESSION_TOKEN_BYTES: usize = 600;

/// Fields, region, time and faults of a call.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) fields: &'a [(String, String)],
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) effects: &'a Effects,
}

/// The value of a form field.
pub(crate) fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// Performs the action; a call with a web identity has no caller.
pub(crate) fn perform(
    state: &mut State,
    action: Action,
    caller: Option<&Principal>,
    context: Context<'_>,
) -> Result<String, ApiError> {
    if field(context.fields, "Version") != Some(VERSION) {
        let message = format!(
            "Could not find operation {} for version {VERSION}",
            action.name()
        );
        return Err(ApiError::new(400, "InvalidAction", message));
    }
    let result = match (action, caller) {
        (Action::GetCallerIdentity, Some(caller)) => caller_identity(caller),
        (Action::AssumeRole, Some(caller)) => assume_role(state, caller, context)?,
        (Action::AssumeRoleWithWebIdentity, _) => assume_role_with_web_identity(state, context)?,
        _ => return Err(ApiError::new(400, "InvalidAction", "no such operation")),
    };
    let (name, id) = (action.name(), request_id());
    Ok(format!(
        "<{name}Response xmlns=\"{NAMESPACE}\">\n<{name}Result>\n{result}</{name}Result>\n\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\n</{name}Response>\n"
    ))
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>\n", encoding::xml_escape(text))
}

fn caller_identity(caller: &Principal) -> String {
    element("Arn", &caller.arn)
        + &element("UserId", &caller.user_id)
        + &element("Account", &caller.account)
}

fn assume_role(
    state: &mut State,
    caller: &Principal,
    context: Context<'_>,
) -> Result<String, ApiError> {
    let asked = Asked::read(context.fields)?;
    let external_id = sts_checks::external_id(context.fields)?;
    let denied = || {
        let message = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
            caller.arn, asked.role_arn
        );
        ApiError::new(403, "AccessDenied", message)
    };
    let role = state.identities.role(asked.role_arn).ok_or_else(denied)?;
    let trusted = role
        .trusts
        .iter()
        .any(|trust| *trust == caller.account || caller.is_meant_by(trust));
    // A role without an external id accepts any id. The refusal of a wrong id does not name the id as its cause.
    let id_matches = role.external_id.is_none() || role.external_id.as_deref() == external_id;
    if !trusted || !id_matches {
        return Err(denied());
    }
    let seconds = asked.session_seconds(role, caller.role_arn.is_some())?;
    let role = role.clone();
    session(state, &role, &asked, seconds, context)
}

fn assume_role_with_web_identity(
    state: &mut State,
    context: Context<'_>,
) -> Result<String, ApiError> {
    let asked = Asked::read(context.fields)?;
    let token = sts_checks::web_identity_token(context.fields)?;
    state.secrets.web_identity_tokens.push(token.to_owned());
    let token = Jwt::parse(token)?;

    let account = account_of(asked.role_arn).unwrap_or_default();
    let roles = state.identities.roles();
    let client_ids = (state.providers).check(roles, account, &token, context.now)?;
    let audience = token.audience(&client_ids)?;
    token.check_time(context.now)?;
    let denied = || {
        ApiError::new(
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        )
    };
    let role = state
        .identities
        .role(asked.role_arn)
        .filter(|role| token.is_trusted_by(role))
        .ok_or_else(denied)?;
    let seconds = asked.session_seconds(role, false)?;
    let role = role.clone();
    let session = session(state, &role, &asked, seconds, context)?;

    let issuer = token.issuer();
    let provider = issuer.strip_prefix("https://").unwrap_or(issuer);
    let provider = format!(
        "arn:{}:iam::{account}:oidc-provider/{provider}",
        ecr_host::partition(context.region)
    );
    Ok(session
        + &element("SubjectFromWebIdentityToken", token.subject())
        + &element("Audience", audience)
        + &element("Provider", &provider))
}

/// Makes the session's key and its part of the answer.
fn session(
    state: &mut State,
    role: &spec::Role,
    asked: &Asked<'_>,
    seconds: i64,
    context: Context<'_>,
) -> Result<String, ApiError> {
    let Context { now, effects, .. } = context;
    let account = account_of(&role.arn).unwrap_or_default();
    let (prefix, path) = role.arn.split_once(":role/").unwrap_or((&role.arn, ""));
    // A session's ARN has the role's name without its path.
    let name = path.rsplit('/').next().unwrap_or(path);
    let partition = prefix.split(':').nth(1).unwrap_or("aws");
    let arn = format!(
        "arn:{partition}:sts::{account}:assumed-role/{name}/{}",
        asked.session_name
    );
    let role_id = format!(
        "AROA{}",
        encoding::sha256_hex(role.arn.as_bytes()).to_uppercase()[..17].to_owned()
    );
    let user_id = format!("{role_id}:{}", asked.session_name);

    let access_key_id = encoding::random_id("ASIA", 16)?;
    let secret = encoding::base64(encoding::random(30)?);
    let session_token = format!(
        "IQoJb3JpZ2luX2Vj{}",
        encoding::base64(encoding::random(SESSION_TOKEN_BYTES)?)
    );
    let expires = clock::after(now, effects.lifetime.unwrap_or(seconds));
    let stated = effects
        .stated_lifetime
        .map_or(expires, |seconds| clock::after(now, seconds));

    state.secrets.access_key_ids.push(access_key_id.clone());
    state.secrets.secret_access_keys.push(secret.clone());
    state.secrets.session_tokens.push(session_token.clone());
    let mut described = String::new();
    if !effects.empty {
        let fields = [
            element("AccessKeyId", &access_key_id),
            element("SecretAccessKey", &secret),
            element("SessionToken", &session_token),
            element("Expiration", &clock::iso8601(stated)),
        ];
        described = format!("<Credentials>\n{}</Credentials>\n", fields.concat());
    }
    described += &format!(
        "<AssumedRoleUser>\n{}{}</AssumedRoleUser>\n",
        element("AssumedRoleId", &user_id),
        element("Arn", &arn)
    );
    let principal = Principal {
        account: account.to_owned(),
        arn,
        role_arn: Some(role.arn.clone()),
        user_id,
    };
    let key = Key {
        secret,
        session_token: Some(session_token),
        expires: Some(expires),
        principal,
    };
    state.identities.put_session(access_key_id, key);
    Ok(described)
}
