//! An HTTP answer that is none of AWS's, whichever service was asked.
//!
//! It is judged before the SDK reads it: the SDK's errors quote what they cannot parse. A refusal by
//! AWS is an answer of AWS, and passes.

use serde::de::IgnoredAny;

/// The longest answer in bytes. A token has at most 4 KB, the keys of a session 3.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Why an answer is none of AWS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// A redirect, which would carry the credentials elsewhere.
    #[error("redirects to another address (status {0}), which is not followed")]
    Redirect(u16),
    /// A page for people.
    #[error("answers with a page of HTML (status {0})")]
    Html(u16),
    /// HTTP 407.
    #[error("answers that the proxy wants a user and a password (status 407)")]
    ProxyLogin,
    /// A success without content.
    #[error("answers with an empty body")]
    Empty,
    /// More than [`MAX_ANSWER`].
    #[error("answers with more than 256 KiB")]
    TooLarge,
    /// An end before the announced one.
    #[error("ends its answer too early")]
    Truncated,
    /// A success that no parser takes.
    #[error("answers with malformed JSON or XML")]
    Malformed,
}

/// Judges a whole answer by its status, its content type and its body.
///
/// # Errors
///
/// [`AnswerFault`] when it cannot be AWS's.
pub fn judge(status: u16, content_type: &str, body: &[u8]) -> Result<(), AnswerFault> {
    let text = body.trim_ascii();
    match status {
        300..=399 => return Err(AnswerFault::Redirect(status)),
        407 => return Err(AnswerFault::ProxyLogin),
        // A load balancer writes HTML in AWS's name.
        500.. => return Ok(()),
        _ if is_html(content_type, text) => return Err(AnswerFault::Html(status)),
        200..=299 => {}
        _ => return Ok(()),
    }
    if text.is_empty() {
        return Err(AnswerFault::Empty);
    }
    let claims = |kind: &str| content_type.to_ascii_lowercase().contains(kind);
    let is_valid = if claims("json") || text.starts_with(b"{") {
        serde_json::from_slice::<IgnoredAny>(text).is_ok()
    } else if claims("xml") || text.starts_with(b"<") {
        is_whole_xml(text)
    } else {
        true
    };
    is_valid.then_some(()).ok_or(AnswerFault::Malformed)
}

fn is_html(content_type: &str, text: &[u8]) -> bool {
    let begins = |with: &[u8]| {
        let start = text.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    content_type.to_ascii_lowercase().contains("html")
        || begins(b"<!doctype html")
        || begins(b"<html")
}

/// Whether the first element is closed at the end. What is between them, the SDK reads.
fn is_whole_xml(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let declared = text
        .strip_prefix("<?")
        .and_then(|rest| rest.split_once("?>"));
    let root = declared.map_or(text, |(_, rest)| rest).trim_start();
    let Some(rest) = root.strip_prefix('<') else {
        return false;
    };
    let ends = |letter: char| letter.is_whitespace() || "/>".contains(letter);
    let name = rest.split(ends).next().unwrap_or_default();
    let end = root.strip_suffix('>').map(str::trim_end);
    let closes = end.and_then(|end| end.strip_suffix(name)?.strip_suffix("</"));
    !name.is_empty() && closes.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_aws_pass() {
        for (status, content_type, body) in [
            (
                200,
                "application/x-amz-json-1.1",
                "{\"authorizationData\":[]}",
            ),
            (
                200,
                "text/xml",
                "<AResponse xmlns=\"x\">\n<B/></AResponse>\n",
            ),
            (200, "text/xml", "<?xml version=\"1.0\"?>\n<A></A>"),
            (200, "text/plain", "the-name-of-a-role"),
            (200, "text/plain", "{\"Code\":\"Success\"}"),
            (
                400,
                "application/x-amz-json-1.1",
                "{\"__type\":\"AccessDeniedException\"}",
            ),
            (403, "text/xml", "<ErrorResponse>"),
            (404, "", ""),
            (503, "text/html", "<html>try later</html>"),
        ] {
            assert_eq!(
                judge(status, content_type, body.as_bytes()),
                Ok(()),
                "{body}"
            );
        }
    }

    #[test]
    fn other_answers_are_named() {
        for (status, content_type, body, fault) in [
            (302, "", "", AnswerFault::Redirect(302)),
            (307, "text/html", "<html>", AnswerFault::Redirect(307)),
            (407, "text/html", "<html>", AnswerFault::ProxyLogin),
            (
                200,
                "text/html; charset=utf-8",
                "hello",
                AnswerFault::Html(200),
            ),
            (403, "", "  <!DOCTYPE HTML><title>", AnswerFault::Html(403)),
            (200, "", "<Html>", AnswerFault::Html(200)),
            (200, "application/json", "", AnswerFault::Empty),
            (200, "text/xml", " \n", AnswerFault::Empty),
            (
                200,
                "application/x-amz-json-1.1",
                "{\"a\":",
                AnswerFault::Malformed,
            ),
            (200, "application/json", "hello", AnswerFault::Malformed),
            (200, "", "{\"a\":1}}", AnswerFault::Malformed),
            (200, "text/xml", "<AResponse><B>", AnswerFault::Malformed),
            (200, "text/xml", "<A></B>", AnswerFault::Malformed),
            (200, "text/xml", "hello", AnswerFault::Malformed),
            (200, "text/xml", "<>", AnswerFault::Malformed),
        ] {
            let judged = judge(status, content_type, body.as_bytes());
            assert_eq!(judged, Err(fault), "{status} {body}");
        }
        assert_eq!(
            judge(200, "text/xml", b"<A>\xff</A>"),
            Err(AnswerFault::Malformed)
        );
    }
}
