//! The value of a key or of a setting, and what is wrong with it. An error never shows the value.

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
/// [`InvalidValue`] when it cannot be the value of a header.
pub fn key(name: &str, text: &str) -> Result<String, InvalidValue> {
    let bare = unquoted(text.trim()).trim();
    plain(name, bare).map(|()| bare.to_owned())
}

/// Checks a value that is used as it is.
///
/// # Errors
///
/// [`InvalidValue`] when it cannot be the value of a header, or when [`key`] would trim it.
pub fn exact(name: &str, text: &str) -> Result<(), InvalidValue> {
    plain(name, text)
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
        assert_eq!(key("k", "a/B+c=").as_deref(), Ok("a/B+c="));
        assert_eq!(exact("k", "KEY"), Ok(()));
        assert!(exact("k", "KEY\n").is_err() && exact("k", "'KEY'").is_err());
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
        ] {
            let error = key("the access key", text).unwrap_err();
            assert_eq!(error.fault, fault, "{text:?}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("the access key"), "{shown}");
            assert!(!shown.contains("SEC"), "{shown}");
        }
    }
}
