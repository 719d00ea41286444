//! Checks against the values of AWS's published Signature Version 4 test suite.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    query: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    signature: &'static str,
}

const NOTHING: Case = Case {
    name: "",
    method: "GET",
    path: "/",
    query: "",
    headers: &[],
    body: "",
    signature: "",
};

const CASES: &[Case] = &[
    Case {
        name: "get-vanilla",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ..NOTHING
    },
    Case {
        name: "get-vanilla-query-order-key-case",
        query: "Param2=value2&Param1=value1",
        signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ..NOTHING
    },
    Case {
        name: "get-header-value-trim",
        headers: &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
        signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ..NOTHING
    },
    Case {
        name: "post-vanilla",
        method: "POST",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ..NOTHING
    },
    Case {
        name: "post-vanilla-query",
        method: "POST",
        query: "Param1=value1",
        signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ..NOTHING
    },
    Case {
        name: "post-x-www-form-urlencoded",
        method: "POST",
        headers: &[("content-type", "application/x-www-form-urlencoded")],
        body: "Param1=value1",
        signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ..NOTHING
    },
];

fn headers(case: &Case) -> HeaderMap {
    let fixed = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    fixed
        .iter()
        .chain(case.headers)
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn header(case: &Case, secret: &str) -> String {
    let headers = headers(case);
    let request = Signable {
        method: case.method,
        path: case.path,
        query: case.query,
        headers: &headers,
        body: case.body.as_bytes(),
    };
    let time = clock::parse_amz_date("20150830T123600Z").unwrap();
    sign(
        crate::DEFAULT_ACCESS_KEY_ID,
        secret,
        "us-east-1",
        "service",
        time,
        request,
    )
}

#[test]
fn published_examples_are_reproduced() {
    for case in CASES {
        let header = header(case, crate::DEFAULT_SECRET_ACCESS_KEY);
        let authorization = Authorization::parse(&header).unwrap();
        assert_eq!(authorization.signature, case.signature, "{}", case.name);
    }
}

#[test]
fn only_the_published_example_is_verified() {
    let case = &CASES[0];
    let header = header(case, crate::DEFAULT_SECRET_ACCESS_KEY);
    let authorization = Authorization::parse(&header).unwrap();
    let time = clock::parse_amz_date("20150830T123600Z").unwrap();
    let headers = headers(case);
    let good = Signable {
        method: "GET",
        path: "/",
        query: "",
        headers: &headers,
        body: b"",
    };
    let secret = crate::DEFAULT_SECRET_ACCESS_KEY;
    assert!(authorization.is_made_with(secret, good, time));
    assert!(!authorization.is_made_with("another", good, time));
    assert!(!authorization.is_made_with(
        secret,
        Signable {
            body: b"{}",
            ..good
        },
        time
    ));
    assert!(!authorization.is_made_with(secret, Signable { path: "/x", ..good }, time));
    assert!(!authorization.is_made_with(secret, good, clock::after(time, 1)));
}

#[test]
fn incomplete_header_names_the_missing_part() {
    let error = |header| Authorization::parse(header).err().unwrap();
    assert!(error("Bearer x").contains("algorithm"));
    assert!(error("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=1").contains("'Credential'"));
    assert!(
        error("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=1")
            .contains("'SignedHeaders'")
    );
    assert!(
        error("AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=1")
            .contains("slash")
    );
}

#[test]
fn key_longer_than_a_block_is_hashed() {
    // RFC 4231, test case 6.
    let mac = hmac(
        &[0xaa; 131],
        "Test Using Larger Than Block-Size Key - Hash Key First",
    );
    assert_eq!(
        hex(&mac),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}
