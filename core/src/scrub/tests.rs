use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The length from which a part of a credential is a leak.
const LEAK: usize = 12;

fn leaks(text: &str, secret: &str) -> bool {
    let windows = secret.as_bytes().windows(LEAK);
    let mut parts = windows.filter_map(|part| std::str::from_utf8(part).ok());
    parts.any(|part| text.contains(part))
}

/// Where texts of AWS, the SDK and proxies have put credentials.
const CONTEXTS: [(&str, &str); 22] = [
    ("", ""),
    ("the token ", " is invalid"),
    ("\"SecretAccessKey\" : \"", "\","),
    ("<SessionToken>", "</SessionToken>"),
    ("<Secret>", "</Secret>"),
    ("{\\\"Token\\\":\\\"", "\\\"}"),
    ("x-amz-security-token:", "\nhost:sts.amazonaws.com"),
    ("X-Amz-Security-Token=", "&X-Amz-Signature=00"),
    ("WebIdentityToken=", "&Version=2011-06-15"),
    ("authorization: Bearer ", "\r\naccept: */*"),
    (
        "Authorization: AWS4-HMAC-SHA256 Credential=",
        "/20261130/eu-central-1/ecr/aws4_request",
    ),
    (
        "SdkBody { inner: Once(Some(b\"Action=A&WebIdentityToken=",
        "\")), retryable: true }",
    ),
    ("session_token: Some(\"", "\")"),
    ("arn:aws:iam::123456789012:role/", " is not authorized"),
    ("https://sts.eu-central-1.amazonaws.com/?", "#"),
    ("https://", ".eu-central-1.amazonaws.com/"),
    ("http://user:", "@proxy.example.com:3128/"),
    ("/var/run/secrets/", ":3"),
    ("words before it", "and after it"),
    ("InvalidSignatureException", "Exception"),
    ("é", "é"),
    ("expected = on line 3: ", ""),
];

fn surrounded() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        3 => proptest::sample::select(CONTEXTS.to_vec())
            .prop_map(|(before, after)| (before.to_owned(), after.to_owned())),
        1 => ("\\PC{0,40}", "\\PC{0,40}"),
    ]
}

fn secrets() -> impl Strategy<Value = String> {
    let bytes = |count: usize| vec(any::<u8>(), count);
    prop_oneof![
        // A secret access key: 40 characters.
        4 => bytes(30).prop_map(|bytes| BASE64_STANDARD.encode(bytes)),
        // A token of STS or of the metadata service.
        1 => bytes(42).prop_map(|bytes| BASE64_STANDARD.encode(bytes)),
        1 => bytes(700).prop_map(|bytes| BASE64_STANDARD.encode(bytes)),
        // The three parts of a JWT.
        1 => (bytes(300), bytes(256)).prop_map(|(claims, signature)| format!(
            "{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(claims),
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        )),
        // A signature.
        1 => bytes(32).prop_map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    ]
}

/// Splits of a text that an answer escapes for JSON or a URL.
fn escaped(secret: &str) -> [String; 3] {
    [
        secret.to_owned(),
        secret.replace('/', "\\/"),
        secret
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D"),
    ]
}

proptest! {
    #[test]
    fn no_part_of_a_credential_survives(
        secret in secrets(),
        (before, after) in surrounded(),
    ) {
        for written in escaped(&secret) {
            let text = format!("{before}{written}{after}");
            for scrubbed in [scrub(&text), detail(&text)] {
                prop_assert!(!leaks(&scrubbed, &secret), "{scrubbed}");
            }
        }
    }

    #[test]
    fn any_text_can_be_scrubbed_twice(text in "\\PC{0,200}") {
        let once = scrub(&text);
        prop_assert_eq!(scrub(&once), once.clone());
        prop_assert!(detail(&text).chars().count() <= MAX_DETAIL);
    }
}

#[test]
fn what_helps_survives() {
    for text in [
        "User: arn:aws:iam::123456789012:user/default is not authorized to perform: \
         ecr:GetAuthorizationToken on resource: * because no identity-based policy allows it",
        "arn:aws:sts::123456789012:assumed-role/eksctl-prod-NodeInstanceRole-1ABCDEF2GHIJK/i-0123456789abcdef0",
        "arn:aws-us-gov:iam::123456789012:role/path/K8sEcrPullerRole",
        "arn:aws:iam::123456789012:role/TeamA_Puller-2",
        "AmazonEC2ContainerRegistryPullOnly",
        "UnrecognizedClientException: the security token included in the request is invalid",
        "InvalidIdentityToken: No OpenIDConnect provider found in your account for https://oidc.example.com",
        "IDPCommunicationError AssumeRoleWithWebIdentity GetCallerIdentity",
        "Signature expired: 20261130T015745Z is now earlier than 20261130T020245Z (20261130T020745Z - 5 min.)",
        "dns error: failed to lookup address information: sts.eu-central-1.amazonaws.com",
        "vpce-0123456789abcdef0-ab12cd34.api.ecr.eu-central-1.vpce.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:v1",
        "tcp connect error: Connection refused (os error 111)",
        "http://169.254.170.23/v1/credentials and [fd00:ec2::23]:80",
        "error parsing /var/run/secrets/aws/credentials on line 3: Expected an '=' sign defining a property",
        "/var/run/secrets/aws/..2026_11_30_01_57_45.123456789/credentials",
        "secrets \"ecr-registry-credentials\" is forbidden: ValidatingAdmissionPolicy \
         'ecr-pull-secrets-guard-secrets' with binding 'ecr-pull-secrets-guard-secrets' denied request",
        "pod payments-7d9f8b6c5d-x2x4z of system:serviceaccount:ecr-pull-secrets:ecr-pull-secrets",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is set",
        "at 2026-11-30T01:57:45.123456789Z and 2026-11-30T01:57:45+00:00",
        "ecr-pull-secrets 0.1.0 src/aws/failure.rs:264:13",
    ] {
        assert_eq!(scrub(text), text);
    }
}

#[test]
fn named_values_are_removed_whatever_they_are() {
    for (text, scrubbed) in [
        (
            "SecretAccessKey=hunter2 next",
            "SecretAccessKey=[removed] next",
        ),
        ("{'password': 'a b'}", "{'password': '[removed] b'}"),
        (
            "Authorization: Basic dXNlcg==, more",
            "Authorization: [removed]",
        ),
        ("<Token>x</Token>", "<Token>[removed]</Token>"),
        ("http://me:you@proxy:3128/", "http://[removed]@proxy:3128/"),
        ("the token is old: renew it", "the token is old: renew it"),
    ] {
        assert_eq!(scrub(text), scrubbed, "{text}");
    }
}

#[test]
fn detail_has_no_body_and_one_line() {
    for (text, wanted) in [
        ("refused:\n  <html><body>a</body>", "refused: [removed]"),
        ("refused {\"code\": 1}", "refused [removed]"),
        ("Attempted:\n  Environment\n", "Attempted: Environment"),
        ("at least 3 < 4 {x}", "at least 3 < 4 {x}"),
        ("", ""),
    ] {
        assert_eq!(detail(text), wanted);
    }
    assert_eq!(detail(&"word ".repeat(200)).len(), MAX_DETAIL);
}
