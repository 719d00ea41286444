//! AWS Signature Version 4: the canonical request, the string to sign, the signature.
//!
//! Source: "Create a signed AWS API request" in the IAM User Guide. `authenticate` checks the key's owner and the clock.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    clock,
    encoding::{hex, percent_decode, percent_encode, sha256_hex},
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const BLOCK: usize = 64;

/// The parts of a request that a signature covers.
#[derive(Clone, Copy)]
pub struct Signable<'a> {
    /// Method in upper case.
    pub method: &'a str,
    /// Path as sent, with its percent-encoding.
    pub path: &'a str,
    /// Query as sent, without the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// A parsed `Authorization` header.
pub(crate) struct Authorization<'a> {
    pub(crate) access_key_id: &'a str,
    /// `YYYYMMDD`.
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) signed_headers: Vec<&'a str>,
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Parses the header; the error is AWS's message.
    pub(crate) fn parse(header: &'a str) -> Result<Self, String> {
        let parameters = header
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| {
                "Unsupported AWS 'algorithm': the Authorization header must use AWS4-HMAC-SHA256."
                    .to_owned()
            })?;
        let parameter = |name: &str| {
            parameters
                .split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("Authorization header requires '{name}' parameter."))
        };
        let credential = parameter("Credential")?;
        let signed_headers = parameter("SignedHeaders")?.split(';').collect();
        let signature = parameter("Signature")?;

        // A key id has no slash, so everything after the first slash is the scope.
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = parts[..] else {
            return Err(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                        keyid/date/region/service/term."
                    .to_owned(),
            );
        };
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers,
            signature,
        })
    }

    /// Whether `secret` makes this signature.
    pub(crate) fn is_made_with(
        &self,
        secret: &str,
        request: Signable<'_>,
        time: Timestamp,
    ) -> bool {
        let canonical = canonical_request(request, &self.signed_headers);
        let scope = [self.date, self.region, self.service];
        signature(secret, scope, time, &canonical) == self.signature
    }
}

/// The `Authorization` header of a request whose `x-amz-date` header is `time`. All headers are signed.
/// For tests that set every byte on the wire.
pub fn sign(
    access_key_id: &str,
    secret: &str,
    region: &str,
    service: &str,
    time: Timestamp,
    request: Signable<'_>,
) -> String {
    let mut names: Vec<&str> = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    names.sort_unstable();
    let date = clock::amz_date(time);
    let scope = [&date[..8], region, service];
    let canonical = canonical_request(request, &names);
    let signature = signature(secret, scope, time, &canonical);
    let (scope, names) = (scope.join("/"), names.join(";"));
    format!(
        "{ALGORITHM} Credential={access_key_id}/{scope}/aws4_request, SignedHeaders={names}, Signature={signature}"
    )
}

fn canonical_request(request: Signable<'_>, signed_headers: &[&str]) -> String {
    let Signable {
        method,
        path,
        query,
        headers,
        body,
    } = request;
    let mut query: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| [key, value].map(|part| percent_encode(&percent_decode(part), false)))
        .collect();
    query.sort();
    let query: Vec<_> = query.iter().map(|pair| pair.join("=")).collect();

    let mut canonical_headers = String::new();
    for name in signed_headers {
        let values: Vec<_> = headers
            .get_all(*name)
            .iter()
            .map(|value| squeeze(value.as_bytes()))
            .collect();
        canonical_headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let names = signed_headers.join(";");
    // Services other than S3 percent-encode the sent path a second time.
    let (path, query, body) = (
        percent_encode(path.as_bytes(), true),
        query.join("&"),
        sha256_hex(body),
    );
    format!("{method}\n{path}\n{query}\n{canonical_headers}\n{names}\n{body}")
}

/// A header's value without outer white space, and with each inner run of white space as one blank.
fn squeeze(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn signature(secret: &str, scope: [&str; 3], time: Timestamp, canonical_request: &str) -> String {
    let key = scope
        .iter()
        .chain(&["aws4_request"])
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            hmac(&key, part)
        });
    let (date, scope, hash) = (
        clock::amz_date(time),
        scope.join("/"),
        sha256_hex(canonical_request.as_bytes()),
    );
    hex(&hmac(
        &key,
        &format!("{ALGORITHM}\n{date}\n{scope}/aws4_request\n{hash}"),
    ))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // The constructor that takes a whole block cannot fail. RFC 2104 defines how a key becomes a block.
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
