//! An error with its sources, as one line of the log.

use std::error::Error;

use ecr_pull_secrets_core::scrub::scrub;

/// The text of an error and of its sources, from the outermost to the innermost, without what may be
/// a credential: a library's error may quote a request or a file. A source whose text is part of what
/// is there already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    scrub(&with_sources(error, str::to_owned))
}

/// The same for an error of ours, whose own text has names of files that a filter could take for
/// something else: only its sources are filtered.
pub(crate) fn chain_of_ours(error: &dyn Error) -> String {
    with_sources(error, scrub)
}

fn with_sources(error: &dyn Error, filter: impl Fn(&str) -> String) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = filter(&inner.to_string());
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn sources_follow_once() {
        let innermost = Layer {
            text: "refused",
            source: None,
        };
        let middle = Layer {
            text: "cannot connect",
            source: Some(Box::new(innermost)),
        };
        let outer = Layer {
            text: "cannot read: cannot connect",
            source: Some(Box::new(middle)),
        };
        assert_eq!(chain(&outer), "cannot read: cannot connect: refused");
    }

    #[test]
    fn own_text_keeps_its_file() {
        let quoted = Layer {
            text: "token: eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9.e30.c2lnbmF0dXJl",
            source: None,
        };
        let outer = Layer {
            text: "cannot read /tmp/work-w1icTqXk29/config.yaml",
            source: Some(Box::new(quoted)),
        };
        assert_eq!(
            chain_of_ours(&outer),
            "cannot read /tmp/work-w1icTqXk29/config.yaml: token: [removed]"
        );
        assert!(!chain(&outer).contains("w1icTqXk29"));
    }

    #[test]
    fn quoted_credential_is_removed() {
        let outer = Layer {
            text: "cannot parse `token: eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9.e30.c2lnbmF0dXJl`",
            source: None,
        };
        assert_eq!(chain(&outer), "cannot parse `token: [removed]`");
    }
}
