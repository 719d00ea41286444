//! `GetAuthorizationToken`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    EcrHost, clock,
    faults::Effects,
    identity::Principal,
    state::State,
    token::{self, Token},
    wire::ApiError,
};

/// Region, time and faults of a call.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) effects: &'a Effects,
}

/// Body of the call. Unknown members are ignored, as in every JSON 1.1 service of AWS.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "registryIds")]
    registry_ids: Option<Vec<String>>,
}

/// Mints one token; with the deprecated `registryIds`, one for each id.
pub(crate) fn get_authorization_token(
    state: &mut State,
    caller: &Principal,
    body: &[u8],
    context: Context<'_>,
) -> Result<String, ApiError> {
    let Context {
        region, effects, ..
    } = context;
    let accounts = accounts(caller, body)?;
    state
        .policies
        .check_mint(caller, region)
        .map_err(|message| ApiError::new(400, "AccessDeniedException", message))?;
    if effects.empty {
        return Ok(json!({"authorizationData": []}).to_string());
    }
    let data: Vec<Value> = accounts
        .iter()
        .map(|account| authorization(state, caller, account, context))
        .collect::<Result<_, _>>()?;
    Ok(json!({"authorizationData": data}).to_string())
}

fn accounts(caller: &Principal, body: &[u8]) -> Result<Vec<String>, ApiError> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(400, "SerializationException", error.to_string()))?;
    let Some(ids) = request.registry_ids else {
        return Ok(vec![caller.account.clone()]);
    };
    let well_formed = |id: &String| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=10).contains(&ids.len()) || !ids.iter().all(well_formed) {
        let message = "Invalid parameter at 'registryIds' failed to satisfy constraint: \
                       'must hold 1 to 10 items that satisfy regular expression '[0-9]{12}''";
        return Err(ApiError::new(400, "InvalidParameterException", message));
    }
    Ok(ids)
}

fn authorization(
    state: &mut State,
    caller: &Principal,
    account: &str,
    context: Context<'_>,
) -> Result<Value, ApiError> {
    let Context {
        region,
        now,
        effects,
    } = context;
    let expires = token::expiry(now, effects.lifetime);
    let token = Token {
        principal: caller.clone(),
        region: region.to_owned(),
        expires,
    };
    let password = state.tokens.mint(token)?;
    let authorization_token = token::authorization_token(&password);
    state.secrets.passwords.push(password);
    state
        .secrets
        .authorization_tokens
        .push(authorization_token.clone());

    let registry = EcrHost {
        account: account.to_owned(),
        region: region.to_owned(),
    };
    let mut data = json!({
        "authorizationToken": authorization_token,
        "proxyEndpoint": format!("https://{}", registry.name()),
    });
    if !effects.no_expiry {
        let stated = effects
            .stated_lifetime
            .map_or(expires, |seconds| clock::after(now, seconds));
        data["expiresAt"] = json!(clock::unix_seconds(stated));
    }
    Ok(data)
}
