//! Answers that no service of AWS gives. Each has the credentials of the real answer in it, except for the blank one, so
//! that a program which quotes what it cannot read quotes a credential.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use hyper::body::Frame;

use crate::{
    encoding::percent_encode,
    spec::{HostileAnswer, REDIRECTED},
    wire::{ApiError, Protocol, answer as answer_in},
};

const PADDING: usize = 8 << 20;

/// The hostile form of a real answer to this request.
pub(crate) fn answer(
    kind: HostileAnswer,
    protocol: Protocol,
    body: &str,
    request: &str,
) -> Response {
    let line = one_line(body);
    match kind {
        HostileAnswer::Truncated => truncated(protocol, body),
        HostileAnswer::Garbage => answer_in(protocol, StatusCode::OK, format!("}}<{body}")),
        HostileAnswer::Redirect => {
            let location = format!("{REDIRECTED}?{}", percent_encode(line.as_bytes(), true));
            let location = HeaderValue::from_str(&location)
                .unwrap_or_else(|_| HeaderValue::from_static(REDIRECTED));
            let mut response = (StatusCode::TEMPORARY_REDIRECT, line).into_response();
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        HostileAnswer::Html => {
            let page = format!("<!DOCTYPE html>\n<html><body><pre>{body}</pre></body></html>\n");
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::OK, html, page).into_response()
        }
        HostileAnswer::Blank => answer_in(protocol, StatusCode::OK, ""),
        HostileAnswer::Huge => answer_in(
            protocol,
            StatusCode::OK,
            body.to_owned() + &" ".repeat(PADDING),
        ),
        HostileAnswer::Quoting => {
            let (code, status) = match protocol {
                Protocol::Json => ("InvalidSignatureException", 400),
                Protocol::Query => ("SignatureDoesNotMatch", 403),
            };
            let message = format!(
                "The request signature we calculated does not match. You sent {request} and would have got {line}"
            );
            ApiError::new(status, code, message).into_response(protocol)
        }
    }
}

/// A request in one line, with everything in it.
pub(crate) fn quoted(parts: &Parts, body: &[u8]) -> String {
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}:{value} ")
    });
    let body = String::from_utf8_lossy(body);
    one_line(&format!(
        "{} {} {}{body}",
        parts.method,
        parts.uri,
        headers.collect::<String>()
    ))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn truncated(protocol: Protocol, body: &str) -> Response {
    let half = body.as_bytes().get(..body.len() / 2).unwrap_or_default();
    let half = TruncatedBody::Half(Bytes::copy_from_slice(half));
    let mut response = answer_in(protocol, StatusCode::OK, Body::new(half));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

/// A body that fails after its first part, whereupon the server closes the connection.
enum TruncatedBody {
    Half(Bytes),
    /// The server sends what it has when a body is pending.
    Pending,
    Failed,
}

impl hyper::body::Body for TruncatedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match std::mem::replace(&mut *self, Self::Failed) {
            Self::Half(half) => {
                *self = Self::Pending;
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            Self::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Failed => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }
}
