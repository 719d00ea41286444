//! Web identity tokens: the format of a JWT and its claims. The signature is not checked, because no key is known.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{clock, encoding, glob, identity::account_of, spec, wire::ApiError};

/// The audience that roles for workloads require.
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";

/// The claims of a token that a role checks.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Parses a token; refuses a wrong format, a wrong audience, or an expired token.
    pub(crate) fn read(token: &str, now: Timestamp) -> Result<Self, ApiError> {
        let payload = parse(token).ok_or_else(|| {
            let message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
            invalid(message)
        })?;
        let audience = match &payload.aud {
            Audience::One(audience) => audience == AUDIENCE,
            Audience::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
        };
        if !audience {
            return Err(invalid("Incorrect token audience"));
        }
        let seconds = clock::unix_seconds(now);
        if payload.exp <= seconds {
            let message = format!(
                "Token expired: current date/time {seconds:.0} must be before the expiration date/time {:.0}",
                payload.exp
            );
            return Err(ApiError::new(400, "ExpiredTokenException", message));
        }
        Ok(Self {
            issuer: payload.iss,
            subject: payload.sub,
        })
    }

    pub(crate) fn are_trusted_by(&self, role: &spec::Role) -> bool {
        role.web_identities.iter().any(|trusted| {
            trusted.issuer == self.issuer && glob::matches(&trusted.subject, &self.subject)
        })
    }
}

/// Checks that a role of the account trusts the issuer: an account knows no other issuer.
pub(crate) fn check_provider<'a>(
    mut roles: impl Iterator<Item = &'a spec::Role>,
    account: &str,
    issuer: &str,
) -> Result<(), ApiError> {
    let known = roles.any(|role| {
        account_of(&role.arn) == Some(account)
            && role
                .web_identities
                .iter()
                .any(|trusted| trusted.issuer == issuer)
    });
    if known {
        return Ok(());
    }
    Err(invalid(&format!(
        "No OpenIDConnect provider found in your account for {issuer}"
    )))
}

fn parse(token: &str) -> Option<Payload> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || encoding::base64url_decode(signature)?.is_empty() {
        return None;
    }
    let header: Header = serde_json::from_slice(&encoding::base64url_decode(header)?).ok()?;
    if header.alg == "none" {
        return None;
    }
    serde_json::from_slice(&encoding::base64url_decode(payload)?).ok()
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "InvalidIdentityToken", message)
}
