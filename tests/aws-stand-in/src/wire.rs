//! Answers and refusals on the wire: JSON 1.1 for ECR, the query protocol's XML for STS.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{authenticate::Refusal, encoding, spec::Fault};

/// Protocol of a call and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// ECR.
    Json,
    /// STS.
    Query,
}

/// A refusal, before it is written in a protocol.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The refusal of a caller that is not authenticated; each service has its own names for it.
    pub(crate) fn refusal(protocol: Protocol, refusal: &Refusal) -> Self {
        let (json, query) = match refusal {
            Refusal::Missing => (
                "MissingAuthenticationTokenException",
                (403, "MissingAuthenticationToken"),
            ),
            Refusal::Incomplete(_) => {
                ("IncompleteSignatureException", (400, "IncompleteSignature"))
            }
            Refusal::UnknownKey => ("UnrecognizedClientException", (403, "InvalidClientTokenId")),
            Refusal::Expired => ("ExpiredTokenException", (403, "ExpiredToken")),
            Refusal::Scope(_) | Refusal::Skew(_) | Refusal::Mismatch => {
                ("InvalidSignatureException", (403, "SignatureDoesNotMatch"))
            }
        };
        let (status, code) = match protocol {
            Protocol::Json => (400, json),
            Protocol::Query => query,
        };
        Self::new(status, code, refusal.to_string())
    }

    /// The refusal that a fault causes, if it causes one.
    pub(crate) fn fault(protocol: Protocol, fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Error {
                code,
                status,
                message,
            } => Some(Self::new(*status, code, message.as_str())),
            Fault::Throttling => {
                let code = if protocol == Protocol::Json {
                    "ThrottlingException"
                } else {
                    "Throttling"
                };
                Some(Self::new(400, code, "Rate exceeded"))
            }
            Fault::ThrottleException => Some(Self::new(429, "ThrottleException", "Rate exceeded")),
            _ => None,
        }
    }

    pub(crate) fn into_response(self, protocol: Protocol) -> Response {
        let Self {
            status,
            code,
            message,
        } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match protocol {
            Protocol::Json => json!({"__type": code, "message": message}).to_string(),
            Protocol::Query => {
                let sender = if status.is_server_error() {
                    "Receiver"
                } else {
                    "Sender"
                };
                let (code, message) = (encoding::xml_escape(&code), encoding::xml_escape(&message));
                format!(
                    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    \
                     <Type>{sender}</Type>\n    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
                     <RequestId>{}</RequestId>\n</ErrorResponse>\n",
                    request_id()
                )
            }
        };
        let mut response = answer(protocol, status, body);
        if protocol == Protocol::Json
            && let Ok(code) = HeaderValue::from_str(&code)
        {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }
}

impl From<getrandom::Error> for ApiError {
    fn from(error: getrandom::Error) -> Self {
        Self::new(
            500,
            "ServerException",
            format!("the stand-in has no random source: {error}"),
        )
    }
}

/// A body with the headers that every answer of the protocol carries.
pub(crate) fn answer(protocol: Protocol, status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = match protocol {
        Protocol::Json => "application/x-amz-json-1.1",
        Protocol::Query => "text/xml",
    };
    let mut response =
        (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response();
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// A random UUID. Nothing depends on it, so it is all zeros where the system has no random source.
pub(crate) fn request_id() -> String {
    let hex = encoding::hex(&encoding::random(16).unwrap_or_else(|_| vec![0; 16]));
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
