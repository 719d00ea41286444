//! What ECR issues: a token, and its lifetime.

pub mod expiries;
pub mod holding;
pub mod lifetime;
pub mod mint_pace;
#[cfg(test)]
mod moments;
pub mod quota;
pub mod reach;
pub mod renewal;
pub mod shards;
pub mod spread;
pub mod stored;
pub mod table;

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use self::lifetime::Lifetime;

/// The longest token, as base64. Tokens of ECR have 2 to 4 KB, without a documented limit. Whatever
/// else a proxy or a false endpoint answers may not fill memory and store.
const MAX_AUTHORIZATION_BYTES: usize = 16 * 1024;

/// A token of ECR. Cheap to clone; its `Debug` shows only its lifetime.
#[derive(Clone, Debug)]
pub struct Token {
    authorization: Arc<SecretString>,
    /// When it was minted, by our clock.
    pub minted_at: Timestamp,
    /// When it expires: an upper bound.
    pub expires_at: Timestamp,
}

/// An answer of AWS that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the authorization token is not base64 of AWS:password, or longer than {MAX_AUTHORIZATION_BYTES} bytes"
)]
pub struct UnusableToken;

impl Token {
    /// Takes an `authorizationToken` as ECR gives it: base64 of `AWS:` and a password of 2 to 4 KB.
    /// Where the expiry is missing or not in the future, the token counts as one of 12 hours.
    ///
    /// # Errors
    ///
    /// [`UnusableToken`] when it is anything else: such a text in a Secret would break the
    /// keyring of every pod that names it. So is one of more than 16 KiB.
    pub fn new(
        authorization: String,
        minted_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, UnusableToken> {
        if authorization.len() > MAX_AUTHORIZATION_BYTES || !is_authorization(&authorization) {
            return Err(UnusableToken);
        }
        let Lifetime {
            minted_at,
            expires_at,
        } = Lifetime::stated(minted_at, expires_at);
        Ok(Self {
            authorization: Arc::new(SecretString::from(authorization)),
            minted_at,
            expires_at,
        })
    }

    /// The value of `auth` in a docker config.
    pub fn expose_authorization(&self) -> &str {
        self.authorization.expose_secret()
    }
}

impl From<&Token> for Lifetime {
    fn from(token: &Token) -> Self {
        Self {
            minted_at: token.minted_at,
            expires_at: token.expires_at,
        }
    }
}

/// Whether a text is base64 of `AWS:` and a password that is not empty.
pub(crate) fn is_authorization(text: &str) -> bool {
    BASE64_STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|pair| {
            pair.strip_prefix("AWS:")
                .is_some_and(|password| !password.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::moments::at;
    use super::*;

    #[test]
    fn token_is_base64_of_aws_and_password() {
        let cases = [
            ("AWS:password", true),
            ("AWS:pass:word", true),
            ("AWS:", false),
            ("aws:password", false),
            ("password", false),
            ("", false),
        ];
        for (pair, is_token) in cases {
            let token = Token::new(BASE64_STANDARD.encode(pair), at(0), None);
            assert_eq!(token.is_ok(), is_token, "{pair}");
        }
        assert!(Token::new("AWS:password".to_owned(), at(0), None).is_err());
        let latin_1 = BASE64_STANDARD.encode(b"AWS:\xff");
        assert_eq!(Token::new(latin_1, at(0), None).unwrap_err(), UnusableToken);
    }

    #[test]
    fn oversized_token_is_refused() {
        let longest = MAX_AUTHORIZATION_BYTES / 4 * 3 - "AWS:".len();
        for (length, is_token) in [(longest, true), (longest + 1, false)] {
            let text = BASE64_STANDARD.encode(format!("AWS:{}", "x".repeat(length)));
            assert_eq!(Token::new(text, at(0), None).is_ok(), is_token, "{length}");
        }
    }

    #[test]
    fn token_without_stated_expiry_lasts_twelve_hours() {
        let text = BASE64_STANDARD.encode("AWS:password");
        for stated in [None, Some(at(0)), Some(at(-1))] {
            let token = Token::new(text.clone(), at(0), stated).unwrap();
            assert_eq!(token.expires_at, at(12 * 60 * 60), "{stated:?}");
        }
    }

    #[test]
    fn debug_of_token_hides_its_value() {
        let text = BASE64_STANDARD.encode("AWS:password");
        let token = Token::new(text.clone(), at(0), Some(at(60))).unwrap();
        assert!(!format!("{token:?}").contains(&text));
        assert_eq!(token.expose_authorization(), text);
        assert_eq!(token.expires_at, at(60));
    }
}
