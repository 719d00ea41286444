//! Authentication of a signed call: key, session token, clock, scope, signature.

use jiff::Timestamp;

use crate::{
    clock,
    identity::{Identities, Principal},
    sigv4::{Authorization, Signable},
};

/// AWS accepts signatures that are at most five minutes old or early.
const SKEW_SECONDS: i64 = 5 * 60;

/// Why authentication fails. `wire` has the names that each protocol uses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    /// A key that does not exist, or a session's key without its token.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is expired")]
    Expired,
    #[error("{0}")]
    Scope(String),
    #[error("{0}")]
    Skew(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// The parsed `Authorization` header, if it is one of Signature Version 4.
pub(crate) fn authorization<'a>(request: Signable<'a>) -> Result<Authorization<'a>, Refusal> {
    let header = request
        .headers
        .get(http::header::AUTHORIZATION)
        .ok_or(Refusal::Missing)?;
    let header = header
        .to_str()
        .map_err(|_| Refusal::Incomplete("Authorization header is not text.".to_owned()))?;
    Authorization::parse(header).map_err(Refusal::Incomplete)
}

/// Authenticates the request.
pub(crate) fn authenticate(
    identities: &Identities,
    request: Signable<'_>,
    service: &str,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    let authorization = authorization(request)?;
    let time = signed_time(request, &authorization, service, now)?;

    let key = identities
        .key(authorization.access_key_id)
        .ok_or(Refusal::UnknownKey)?;
    let presented = request
        .headers
        .get("x-amz-security-token")
        .map(http::HeaderValue::as_bytes);
    if presented != key.session_token.as_deref().map(str::as_bytes) {
        return Err(Refusal::UnknownKey);
    }
    if !authorization.is_made_with(&key.secret, request, time) {
        return Err(Refusal::Mismatch);
    }
    if key.expires.is_some_and(|expires| expires <= now) {
        return Err(Refusal::Expired);
    }
    Ok(key.principal.clone())
}

fn signed_time(
    request: Signable<'_>,
    authorization: &Authorization<'_>,
    service: &str,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let date = request.headers.get("x-amz-date").and_then(|date| date.to_str().ok()).ok_or_else(|| {
        Refusal::Incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".to_owned())
    })?;
    let time = clock::parse_amz_date(date).ok_or_else(|| {
        Refusal::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"))
    })?;

    // A proxy could change a header that the signature does not cover.
    let must_be_signed = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| {
            matches!(
                *name,
                "host" | "x-amz-date" | "x-amz-target" | "x-amz-security-token"
            )
        });
    for name in ["host"].into_iter().chain(must_be_signed) {
        if !authorization.signed_headers.contains(&name) {
            let name = if name == "host" {
                "'Host' or ':authority'".to_owned()
            } else {
                format!("'{name}'")
            };
            return Err(Refusal::Scope(format!(
                "{name} must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
    }

    let (day, scope_day) = (&date[..8], authorization.date);
    if authorization.service != service {
        return Err(Refusal::Scope(format!(
            "Credential should be scoped to correct service: '{service}'. "
        )));
    }
    if day != scope_day {
        return Err(Refusal::Scope(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{scope_day}' != '{day}', from '{date}'."
        )));
    }

    let (earliest, latest) = (
        clock::after(now, -SKEW_SECONDS),
        clock::after(now, SKEW_SECONDS),
    );
    let (clock, early, late) = (
        clock::amz_date(now),
        clock::amz_date(earliest),
        clock::amz_date(latest),
    );
    if time < earliest {
        return Err(Refusal::Skew(format!(
            "Signature expired: {date} is now earlier than {early} ({clock} - 5 min.)"
        )));
    }
    if time > latest {
        return Err(Refusal::Skew(format!(
            "Signature not yet current: {date} is still later than {late} ({clock} + 5 min.)"
        )));
    }
    Ok(time)
}
