//! Web identity tokens: the format of a JWT, its claims, and what a role and a provider demand of them. `oidc` checks the
//! signature.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{clock, encoding, glob, spec, wire::ApiError};

/// The audience that roles for workloads require.
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";

/// A parsed token. Its claims are only what the sender says, until its signature is verified.
#[derive(Debug)]
pub(crate) struct Jwt {
    pub(crate) header: Header,
    payload: Payload,
    /// What the signature is for: header and payload, as sent.
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    /// Id of the key that signed.
    pub(crate) kid: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Jwt {
    /// Parses a token; refuses a wrong format.
    pub(crate) fn parse(token: &str) -> Result<Self, ApiError> {
        Self::parts(token).ok_or_else(|| {
            let message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
            invalid(message)
        })
    }

    fn parts(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let signature = encoding::base64url_decode(signature)?;
        let header: Header = serde_json::from_slice(&encoding::base64url_decode(header)?).ok()?;
        if signature.is_empty() || header.alg == "none" {
            return None;
        }
        Some(Self {
            header,
            payload: serde_json::from_slice(&encoding::base64url_decode(payload)?).ok()?,
            signed: signed.to_owned(),
            signature,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.payload.iss
    }

    pub(crate) fn subject(&self) -> &str {
        &self.payload.sub
    }

    /// The first of a provider's client ids that the token is for.
    pub(crate) fn audience<'a>(&self, client_ids: &'a [String]) -> Result<&'a str, ApiError> {
        let is_meant = |id: &str| match &self.payload.aud {
            Audience::One(audience) => audience == id,
            Audience::Many(audiences) => audiences.iter().any(|audience| audience == id),
        };
        let found = client_ids.iter().find(|id| is_meant(id));
        found
            .map(String::as_str)
            .ok_or_else(|| invalid("Incorrect token audience"))
    }

    /// Refuses a token that has expired, or is not valid yet.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), ApiError> {
        let seconds = clock::unix_seconds(now);
        if self.payload.exp <= seconds {
            let message = format!(
                "Token expired: current date/time {seconds:.0} must be before the expiration date/time {:.0}",
                self.payload.exp
            );
            return Err(ApiError::new(400, "ExpiredTokenException", message));
        }
        match self.payload.nbf {
            // AWS's text is not known.
            Some(start) if start > seconds => Err(invalid("The ID Token is not valid yet")),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_trusted_by(&self, role: &spec::Role) -> bool {
        role.web_identities.iter().any(|trusted| {
            trusted.issuer == self.issuer() && glob::matches(&trusted.subject, self.subject())
        })
    }
}

pub(crate) fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "InvalidIdentityToken", message)
}
