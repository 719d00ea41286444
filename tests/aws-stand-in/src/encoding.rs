//! Encodings (hex, percent, base64, forms, XML), SHA-256 and random bytes.

use base64::{Engine, engine::general_purpose};
use sha2::{Digest, Sha256};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The OCI digest of the bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    general_purpose::STANDARD.encode(bytes)
}

/// Decodes padded base64; refuses any other form.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    general_purpose::STANDARD.decode(text).ok()
}

/// Decodes the unpadded URL-safe base64 of JSON web tokens.
pub(crate) fn base64url_decode(text: &str) -> Option<Vec<u8>> {
    general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// Bytes from the system's random source.
pub(crate) fn random(length: usize) -> Result<Vec<u8>, getrandom::Error> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Random text of `A-Z2-7`, as in AWS's key ids.
pub(crate) fn random_id(prefix: &str, length: usize) -> Result<String, getrandom::Error> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = random(length)?;
    let text = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok(prefix.chars().chain(text).collect())
}

/// Percent-encodes as RFC 3986 and SigV4 require; `keep_slash` does not encode `/`, for paths.
pub(crate) fn percent_encode(text: &[u8], keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (keep_slash && byte == b'/');
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes percent-encoding; a `%` without two hex digits stays a `%`.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes
            .get(at + 1..at + 3)
            .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) if bytes[at] == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// The fields of an `application/x-www-form-urlencoded` body or query, in order.
pub(crate) fn form_fields(form: &str) -> Vec<(String, String)> {
    let text =
        |part: &str| String::from_utf8_lossy(&percent_decode(&part.replace('+', " "))).into_owned();
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

/// Escapes text for XML content.
pub(crate) fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_round_trips() {
        let text = "a b/ሴ%+~";
        assert_eq!(
            percent_encode(text.as_bytes(), true),
            "a%20b/%E1%88%B4%25%2B~"
        );
        assert_eq!(
            percent_decode(&percent_encode(text.as_bytes(), false)),
            text.as_bytes()
        );
        assert_eq!(percent_decode("100%"), b"100%");
        assert_eq!(percent_decode("%+1"), b"%+1");
    }

    #[test]
    fn form_fields_keep_their_order() {
        let fields = form_fields("Action=AssumeRole&RoleArn=arn%3Aaws&x=a+b&empty");
        let expected = [
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws"),
            ("x", "a b"),
            ("empty", ""),
        ];
        assert_eq!(
            fields,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }
}
