//! The value of a key or of a setting, and what is wrong with it. An error never shows the value.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The least length in bytes of what a value that was encoded twice decodes to.
const MIN_DECODED: usize = 16;

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {fault}")]
pub struct InvalidValue {
    /// The name of the key, the variable or the file.
    pub name: String,
    /// What is wrong with the value.
    pub fault: ValueFault,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Empty, or white space alone.
    #[error("is blank: set a value, or remove it")]
    Blank,
    /// A reference that a shell or the kubelet did not replace.
    #[error("holds a reference such as ${{NAME}} or $(NAME) that was not replaced by its value")]
    Unexpanded,
    /// A quote.
    #[error("holds a quote: remove the quotes around the value")]
    Quote,
    /// A space, a tab or a line break.
    #[error("holds white space or a line break: remove it")]
    Space,
    /// A control character, or one beyond ASCII.
    #[error("holds a character that is not printable ASCII: copy the value again")]
    Character,
    /// A name and a value.
    #[error("holds NAME=VALUE: keep the value alone")]
    Assignment,
    /// A key in base64.
    #[error(
        "is in base64: in `data` of a Secret, encode the value once, or write it as it is into `stringData`"
    )]
    Encoded,
    /// Neither `true` nor `false`.
    #[error("is neither true nor false")]
    Switch,
    /// No `http://` or `https://`.
    #[error("is no URL: write https://HOST or http://HOST:PORT")]
    Url,
    /// A path that does not start with a slash.
    #[error("is no path: it must begin with /")]
    Path,
    /// No name of a region.
    #[error("is no region: write a name such as eu-central-1")]
    Region,
    /// No ARN.
    #[error("is no ARN: write arn:aws:iam::ACCOUNT:role/NAME")]
    Arn,
}

/// The value of a key without white space and one pair of quotes around it. Both are harmless
/// there: `echo KEY | base64` adds a line break, an env file quotes.
///
/// # Errors
///
/// [`InvalidValue`] when it cannot be the value of a header, or is no key of AWS's.
pub fn key(name: &str, text: &str) -> Result<String, InvalidValue> {
    let bare = unquoted(text.trim()).trim();
    // With a space or a quote, the assignment is the fault all the same.
    if is_assignment(bare) {
        return Err(invalid(name, ValueFault::Assignment));
    }
    plain(name, bare)?;
    if is_encoded_key(bare) {
        return Err(invalid(name, ValueFault::Encoded));
    }
    Ok(bare.to_owned())
}

/// Whether a text begins with the name of a variable of AWS, as a line of an env file or of a profile
/// does. No key does: an access key id has no `=`, and no other key an underscore.
fn is_assignment(text: &str) -> bool {
    let name = text.split_once('=').map(|(name, _)| name.trim());
    name.is_some_and(|name| {
        let name = name.rsplit(' ').next().unwrap_or_default();
        name.get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws_"))
    })
}

/// Whether a text is base64 of a key. A key itself, decoded, is random bytes; the keys' own letters
/// do not come out by chance.
fn is_encoded_key(text: &str) -> bool {
    let Ok(bytes) = BASE64_STANDARD.decode(text) else {
        return false;
    };
    let inner = bytes.trim_ascii();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte);
    inner.len() >= MIN_DECODED && inner.iter().all(is_letter)
}

fn unquoted(text: &str) -> &str {
    let pairs = ['"', '\''].into_iter();
    pairs
        .filter_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .next()
        .unwrap_or(text)
}

/// Checks that a text has printable ASCII alone, and none of the common misspellings.
pub(super) fn plain(name: &str, text: &str) -> Result<(), InvalidValue> {
    let fault = if text.trim().is_empty() {
        ValueFault::Blank
    } else if text.contains("${") || text.contains("$(") {
        ValueFault::Unexpanded
    } else if text.contains(['"', '\'']) {
        ValueFault::Quote
    } else if text.contains(char::is_whitespace) {
        ValueFault::Space
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        ValueFault::Character
    } else {
        return Ok(());
    };
    Err(invalid(name, fault))
}

pub(super) fn invalid(name: &str, fault: ValueFault) -> InvalidValue {
    InvalidValue {
        name: name.to_owned(),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_surroundings_are_trimmed() {
        for text in [
            "KEY",
            " KEY",
            "KEY\n",
            "KEY\r\n",
            "\tKEY\n\n",
            "\"KEY\"",
            "'KEY'",
            "\"KEY\"\n",
            " ' KEY ' ",
        ] {
            assert_eq!(key("k", text).as_deref(), Ok("KEY"), "{text:?}");
        }
        for text in [
            "a/B+c=",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ] {
            assert_eq!(key("k", text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn broken_value_is_refused_by_name_without_its_text() {
        for (text, fault) in [
            ("", ValueFault::Blank),
            (" \n", ValueFault::Blank),
            ("\"\"", ValueFault::Blank),
            ("${SECRET}", ValueFault::Unexpanded),
            ("$(SECRET)", ValueFault::Unexpanded),
            ("SEC\"RET", ValueFault::Quote),
            ("\"SECRET", ValueFault::Quote),
            ("SEC RET", ValueFault::Space),
            ("SEC\nRET", ValueFault::Space),
            ("SECRET\u{0}", ValueFault::Character),
            ("SECRET\u{7f}", ValueFault::Character),
            ("SECR\u{c9}T", ValueFault::Character),
            ("AWS_SECRET_ACCESS_KEY=SECRET", ValueFault::Assignment),
            ("aws_secret_access_key = SECRET", ValueFault::Assignment),
            (
                "export AWS_SECRET_ACCESS_KEY='SECRET'",
                ValueFault::Assignment,
            ),
            // Base64 of the published example key, and of an id with a line break.
            (
                "d0phbHJYVXRuRkVNSS9LN01ERU5HK2JQeFJmaUNZRVhBTVBMRUtFWQ==",
                ValueFault::Encoded,
            ),
            ("QUtJQUlPU0ZPRE5ON0VYQU1QTEUK", ValueFault::Encoded),
        ] {
            let error = key("the access key", text).unwrap_err();
            assert_eq!(error.fault, fault, "{text:?}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("the access key"), "{shown}");
            assert!(!shown.contains("SEC"), "{shown}");
        }
    }
}
