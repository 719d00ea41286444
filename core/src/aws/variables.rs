//! The environment variables that the AWS SDK reads, and their common misspellings.
//!
//! The SDK falls back to the public endpoint where it cannot parse `AWS_ENDPOINT_URL`, and reports
//! other mistakes only when a request fails, with the request in its text. So they are checked
//! first. Only what a call is going to use is checked: a misspelt variable without effect stays so.

use super::value::{InvalidValue, ValueFault, invalid, plain};

/// What a call uses, and so the variables that have to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Any call.
    Always,
    /// A call of STS.
    Sts,
    /// The SDK's own chain: web identity, container credentials, instance metadata.
    Chain,
    /// A proxy. The HTTP client ignores a variable that it cannot parse.
    Proxy,
}

impl Use {
    /// Every use.
    pub const ALL: [Self; 4] = [Self::Always, Self::Sts, Self::Chain, Self::Proxy];
}

/// The form of a value.
#[derive(Clone, Copy)]
enum ValueForm {
    Url,
    /// A URL, or a host with a port. Blank means no proxy.
    Proxy,
    Path,
    File,
    Region,
    Arn,
    Name,
    Switch,
}

const VARIABLES: [(Use, &str, ValueForm); 29] = [
    (Use::Chain, "AWS_REGION", ValueForm::Region),
    (Use::Chain, "AWS_DEFAULT_REGION", ValueForm::Region),
    // The SDK ignores another value, and its user believes to be on FIPS.
    (Use::Always, "AWS_USE_FIPS_ENDPOINT", ValueForm::Switch),
    (Use::Always, "AWS_USE_DUALSTACK_ENDPOINT", ValueForm::Switch),
    (Use::Always, "AWS_ENDPOINT_URL", ValueForm::Url),
    (Use::Always, "AWS_ENDPOINT_URL_ECR", ValueForm::Url),
    (Use::Proxy, "HTTP_PROXY", ValueForm::Proxy),
    (Use::Proxy, "http_proxy", ValueForm::Proxy),
    (Use::Proxy, "HTTPS_PROXY", ValueForm::Proxy),
    (Use::Proxy, "https_proxy", ValueForm::Proxy),
    (Use::Proxy, "ALL_PROXY", ValueForm::Proxy),
    (Use::Proxy, "all_proxy", ValueForm::Proxy),
    (Use::Sts, "AWS_ENDPOINT_URL", ValueForm::Url),
    (Use::Sts, "AWS_ENDPOINT_URL_STS", ValueForm::Url),
    (Use::Chain, "AWS_ENDPOINT_URL_STS", ValueForm::Url),
    (Use::Chain, "AWS_PROFILE", ValueForm::Name),
    (Use::Chain, "AWS_SHARED_CREDENTIALS_FILE", ValueForm::File),
    (Use::Chain, "AWS_CONFIG_FILE", ValueForm::File),
    (Use::Chain, "AWS_ROLE_ARN", ValueForm::Arn),
    (Use::Chain, "AWS_ROLE_SESSION_NAME", ValueForm::Name),
    (Use::Chain, "AWS_WEB_IDENTITY_TOKEN_FILE", ValueForm::File),
    (
        Use::Chain,
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        ValueForm::Path,
    ),
    (
        Use::Chain,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ValueForm::Url,
    ),
    (
        Use::Chain,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ValueForm::File,
    ),
    (
        Use::Chain,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        ValueForm::Url,
    ),
    (
        Use::Chain,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        ValueForm::Name,
    ),
    (Use::Chain, "AWS_EC2_METADATA_DISABLED", ValueForm::Name),
    (
        Use::Chain,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        ValueForm::Name,
    ),
    (Use::Chain, "AWS_STS_REGIONAL_ENDPOINTS", ValueForm::Name),
];

/// Checks the variables for one use. `lookup` gives the value of a variable that is set.
///
/// # Errors
///
/// [`InvalidValue`] names the first variable that cannot be used.
pub fn check(used: Use, lookup: impl Fn(&str) -> Option<String>) -> Result<(), InvalidValue> {
    for (of, name, form) in VARIABLES {
        if of == used
            && let Some(value) = lookup(name)
        {
            check_value(name, &value, form)?;
        }
    }
    Ok(())
}

/// Checks the URL of an endpoint. `name` says where it stands.
///
/// # Errors
///
/// [`InvalidValue`] when it is misspelt.
pub fn url(name: &str, value: &str) -> Result<(), InvalidValue> {
    check_value(name, value, ValueForm::Url)
}

fn check_value(name: &str, value: &str, form: ValueForm) -> Result<(), InvalidValue> {
    // An empty region or proxy is how a template switches it off.
    if matches!(form, ValueForm::Region | ValueForm::Proxy) && value.is_empty() {
        return Ok(());
    }
    if matches!(form, ValueForm::File) {
        // A path may hold spaces inside.
        let inner = value.replace(' ', "_");
        let text = if value.trim() == value { &inner } else { value };
        return plain(name, text);
    }
    plain(name, value)?;
    let (is_valid, fault) = match form {
        ValueForm::Url => (is_url(value), ValueFault::Url),
        ValueForm::Proxy => (is_proxy(value), ValueFault::Url),
        ValueForm::Path => (value.starts_with('/'), ValueFault::Path),
        ValueForm::Region => (is_region(value), ValueFault::Region),
        ValueForm::Arn => (value.starts_with("arn:"), ValueFault::Arn),
        ValueForm::Switch => (is_switch(value), ValueFault::Switch),
        ValueForm::File | ValueForm::Name => (true, ValueFault::Blank),
    };
    is_valid.then_some(()).ok_or_else(|| invalid(name, fault))
}

fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(has_host)
}

fn is_proxy(text: &str) -> bool {
    let host = text.split_once("://").map_or(text, |(_, host)| host);
    has_host(host)
}

/// Whether a text begins with a host, perhaps after user and password.
fn has_host(text: &str) -> bool {
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    !host.is_empty() && !host.starts_with(':')
}

fn is_switch(text: &str) -> bool {
    ["true", "false"]
        .into_iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

fn is_region(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(is_part) && text.starts_with(|first: char| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(used: Use, name: &str, value: &str) -> Option<ValueFault> {
        let lookup = |other: &str| (other == name).then(|| value.to_owned());
        let error = check(used, lookup).err()?;
        assert_eq!(error.name, name);
        let shown = value.len() > 10 && error.to_string().contains(value.trim());
        assert!(!shown, "{error}");
        Some(error.fault)
    }

    #[test]
    fn each_misspelt_endpoint_is_named() {
        for (used, name) in [
            (Use::Always, "AWS_ENDPOINT_URL"),
            (Use::Always, "AWS_ENDPOINT_URL_ECR"),
            (Use::Sts, "AWS_ENDPOINT_URL_STS"),
            (Use::Chain, "AWS_ENDPOINT_URL_STS"),
            (Use::Chain, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            (Use::Chain, "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        ] {
            for (value, wanted) in [
                ("sts.eu-central-1.amazonaws.com", ValueFault::Url),
                ("https//sts.eu-central-1.amazonaws.com", ValueFault::Url),
                ("https://", ValueFault::Url),
                ("https://:443", ValueFault::Url),
                ("", ValueFault::Blank),
                (" ", ValueFault::Blank),
                ("https://vpce.example.com\n", ValueFault::Space),
                ("https://vpce .example.com", ValueFault::Space),
                ("\"https://vpce.example.com\"", ValueFault::Quote),
                ("https://${HOST}", ValueFault::Unexpanded),
                ("$(ENDPOINT)", ValueFault::Unexpanded),
                ("https://vpc\u{e9}.example.com", ValueFault::Character),
            ] {
                assert_eq!(fault(used, name, value), Some(wanted), "{name}={value:?}");
            }
            for value in [
                "https://vpce.example.com",
                "http://127.0.0.1:80/path",
                "http://[::1]/",
            ] {
                assert_eq!(fault(used, name, value), None, "{name}={value}");
            }
        }
    }

    #[test]
    fn other_variables_have_their_own_form() {
        use ValueFault::{Arn, Blank, Path, Quote, Region, Space, Switch, Unexpanded, Url};
        for (used, name, value, wanted) in [
            (Use::Chain, "AWS_REGION", "eu-central-1", None),
            (Use::Chain, "AWS_REGION", "", None),
            (Use::Chain, "AWS_REGION", " ", Some(Blank)),
            (Use::Chain, "AWS_REGION", "eu-central-1\n", Some(Space)),
            (Use::Chain, "AWS_REGION", "'eu-central-1'", Some(Quote)),
            (Use::Chain, "AWS_REGION", "${REGION}", Some(Unexpanded)),
            (Use::Chain, "AWS_REGION", "EU (Frankfurt)", Some(Space)),
            (Use::Chain, "AWS_REGION", "Frankfurt", Some(Region)),
            (
                Use::Proxy,
                "HTTPS_PROXY",
                "http://me:secret@proxy:3128",
                None,
            ),
            (Use::Proxy, "HTTPS_PROXY", "proxy:3128", None),
            (Use::Proxy, "HTTPS_PROXY", "", None),
            (Use::Proxy, "https_proxy", "http://", Some(Url)),
            (Use::Proxy, "HTTP_PROXY", "${PROXY}", Some(Unexpanded)),
            (
                Use::Chain,
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "/v2/credentials",
                None,
            ),
            (
                Use::Chain,
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "v2/credentials",
                Some(Path),
            ),
            (
                Use::Chain,
                "AWS_ROLE_ARN",
                "arn:aws:iam::123456789012:role/puller",
                None,
            ),
            (Use::Chain, "AWS_ROLE_ARN", "puller", Some(Arn)),
            (Use::Always, "AWS_USE_FIPS_ENDPOINT", "True", None),
            (Use::Always, "AWS_USE_FIPS_ENDPOINT", "1", Some(Switch)),
            (
                Use::Always,
                "AWS_USE_DUALSTACK_ENDPOINT",
                "yes",
                Some(Switch),
            ),
            (
                Use::Chain,
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "/var/run/a token",
                None,
            ),
            (
                Use::Chain,
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "/var/run/token\n",
                Some(Space),
            ),
            (
                Use::Chain,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                "a b",
                Some(Space),
            ),
        ] {
            assert_eq!(fault(used, name, value), wanted, "{name}={value:?}");
        }
    }

    #[test]
    fn variable_without_effect_is_not_checked() {
        for name in ["AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
            assert_eq!(fault(Use::Always, name, "no scheme"), None);
        }
        assert_eq!(fault(Use::Sts, "AWS_ENDPOINT_URL_ECR", "no scheme"), None);
    }
}
