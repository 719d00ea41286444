//! The image reference, and its ECR host.

use ecr_pull_secrets_core::image::{Reference, Registry};

#[path = "../../core/src/image/oracle.rs"]
mod oracle;

/// The bytes as the text of an `image:` field, and as a key of `auths`.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(oracle::recomposed(&reference, text), text);
    }
    if let Some(registry) = Registry::of_image(text) {
        assert_eq!(text.split('/').next(), Some(registry.host()));
        assert_eq!(Registry::of_host(registry.host()), Some(registry));
    }
    let registry = Registry::of_host(text);
    assert_eq!(registry.is_some(), oracle::is_ecr_by_labels(text));
    let Some(registry) = registry else {
        return;
    };
    assert_eq!(registry.host(), text);
    assert_eq!(
        Registry::of_image(&format!("{text}/app:1")),
        Some(registry.clone())
    );
    // The region becomes part of a host name that we call, and both become metric labels.
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    assert!(registry.region().bytes().all(plain));
    assert!(registry.account().is_none_or(|account| {
        account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
    }));
    assert_eq!(registry.account().is_none(), registry.is_public());
}
