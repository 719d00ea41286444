//! The names that Kubernetes accepts, as one grammar for everything that reads one.
//!
//! A name that fails here never reaches a URL path, a log line or an object.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation`.

/// The longest DNS label, in bytes.
pub const MAX_LABEL_BYTES: usize = 63;
/// The longest DNS subdomain, in bytes.
pub const MAX_SUBDOMAIN_BYTES: usize = 253;

/// Whether a text is a DNS label (RFC 1123), such as the name of a namespace.
pub fn is_dns_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is a DNS subdomain (RFC 1123), such as the name of a Secret or a ServiceAccount.
///
/// Kubernetes limits the whole name and not its parts.
pub fn is_dns_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty()
            && part.bytes().all(is_inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= MAX_SUBDOMAIN_BYTES && text.split('.').all(is_part)
}

/// Whether a text is a label's key: an optional DNS subdomain and `/`, then a name.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_dns_subdomain) && is_qualified(name)
}

/// Whether a text is a label's value.
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_qualified(value)
}

/// Letters and digits, with `-`, `_` and `.` between them.
fn is_qualified(name: &str) -> bool {
    let bytes = name.as_bytes();
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= MAX_LABEL_BYTES
        && is_outer(bytes.first())
        && is_outer(bytes.last())
        && bytes.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_label_follows_rfc_1123() {
        let long = "a".repeat(63);
        for label in ["a", "1", "a-b", &long] {
            assert!(is_dns_label(label), "{label}");
        }
        let longer = "a".repeat(64);
        for text in [
            "", "-", "-a", "a-", "A", "a.b", "a_b", "ä", "..", "a/b", "a?b", &longer,
        ] {
            assert!(!is_dns_label(text), "{text}");
        }
    }

    #[test]
    fn dns_subdomain_follows_rfc_1123() {
        let long = format!("{}.a", "a".repeat(251));
        for name in ["default", "a.b-c", "1", &long] {
            assert!(is_dns_subdomain(name), "{name}");
        }
        let longer = "a".repeat(254);
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "a.-b",
            "A",
            "..",
            "../secrets/x",
            "?limit=500",
            "a/b",
            &longer,
        ] {
            assert!(!is_dns_subdomain(text), "{text}");
        }
    }

    #[test]
    fn label_has_key_and_value() {
        for key in ["team", "a.b/team", "Team_1.x"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in [
            "", "/team", "a.b/", "A.b/team", "a/b/c", "-team", "team-", "te am",
        ] {
            assert!(!is_label_key(key), "{key}");
        }
        for value in ["", "a", "A_b.c-1"] {
            assert!(is_label_value(value), "{value}");
        }
        for value in ["-a", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
    }
}
