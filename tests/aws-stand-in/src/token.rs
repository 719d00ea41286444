//! Registry tokens: their format, and what each one opens.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;

use crate::{clock, encoding, identity::Principal};

/// Lifetime of real tokens: twelve hours.
pub(crate) const LIFETIME_SECONDS: i64 = 12 * 3600;
/// Sizes of the encrypted parts. With them a password has about 2,700 characters, as real passwords have.
const PAYLOAD_BYTES: usize = 1320;
const DATA_KEY_BYTES: usize = 140;

/// What a password opens.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) principal: Principal,
    pub(crate) region: String,
    pub(crate) expires: Timestamp,
}

/// Every minted token, keyed by its password.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<String, Token>);

impl Tokens {
    /// Mints a unique password.
    pub(crate) fn mint(&mut self, token: Token) -> Result<String, getrandom::Error> {
        let password = password(token.expires)?;
        self.0.insert(password.clone(), token);
        Ok(password)
    }

    /// All tokens, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Token> {
        self.0.values()
    }

    pub(crate) fn find(&self, password: &str) -> Option<&Token> {
        self.0.get(password)
    }

    pub(crate) fn expire(&mut self, region: Option<&str>, principal: Option<&str>, now: Timestamp) {
        for token in self.0.values_mut() {
            let meant = region.is_none_or(|region| region == token.region)
                && principal.is_none_or(|pattern| token.principal.is_meant_by(pattern));
            if meant {
                token.expires = now;
            }
        }
    }
}

fn password(expires: Timestamp) -> Result<String, getrandom::Error> {
    let inner = json!({
        "payload": encoding::base64(encoding::random(PAYLOAD_BYTES)?),
        "datakey": encoding::base64(encoding::random(DATA_KEY_BYTES)?),
        "version": "2",
        "type": "DATA_KEY",
        "expiration": expires.as_second(),
    });
    Ok(encoding::base64(inner.to_string()))
}

/// A password as `GetAuthorizationToken` answers it.
pub(crate) fn authorization_token(password: &str) -> String {
    encoding::base64(format!("AWS:{password}"))
}

/// The expiry of a token that is minted now; `lifetime` is in seconds.
pub(crate) fn expiry(now: Timestamp, lifetime: Option<i64>) -> Timestamp {
    clock::after(now, lifetime.unwrap_or(LIFETIME_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_has_a_real_ones_size_and_fields() {
        let expires = clock::parse_amz_date("20300101T000000Z").unwrap();
        let password = password(expires).unwrap();
        assert!((2600..2800).contains(&password.len()), "{}", password.len());
        let inner: serde_json::Value =
            serde_json::from_slice(&encoding::base64_decode(&password).unwrap()).unwrap();
        assert_eq!(inner["expiration"], expires.as_second());
        assert_eq!(inner["type"], "DATA_KEY");
        assert_ne!(password, super::password(expires).unwrap());
    }
}
