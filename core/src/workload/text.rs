//! A text that borrows from the bytes of a request where JSON allows it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// Borrowed, or copied where JSON has an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

impl Text<'_> {
    /// The text without what follows after this many bytes.
    #[must_use]
    pub fn truncated(self, most: usize) -> Self {
        let end = self.floor_char_boundary(most);
        Text(match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                text.shrink_to_fit();
                Cow::Owned(text)
            }
        })
    }

    /// The same text, borrowed from nothing.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_text_takes_no_memory_for_the_rest() {
        let escaped = format!("\"\\u00e9{}\"", "x".repeat(10_000));
        let text: Text<'_> = serde_json::from_str(&escaped).unwrap();
        let Cow::Owned(kept) = text.truncated(10).0 else {
            panic!("copied");
        };
        assert_eq!(kept, "\u{e9}xxxxxxxx");
        assert!(kept.capacity() < 100, "{}", kept.capacity());
        assert_eq!(&*Text(Cow::Borrowed("\u{e9}b")).truncated(1), "");
        assert_eq!(&*Text(Cow::Borrowed("ab")).truncated(5), "ab");
    }

    #[test]
    fn text_is_copied_only_for_an_escape() {
        let plain: Text<'_> = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("plain")));
        let escaped: Text<'_> = serde_json::from_str("\"a\\u002fb\"").unwrap();
        assert_eq!(&*escaped, "a/b");
        let error = serde_json::from_str::<Text<'_>>("7")
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected a string"), "{error}");
    }
}
