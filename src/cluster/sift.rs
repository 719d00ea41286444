//! The layer between the API server and the client: it sifts every answer while it arrives.
//!
//! The client of `kube` holds an answer three times before a caller sees it: as bytes, as text, and
//! parsed. So the bound has to come before it. What passes is what [`Views`] keep.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ecr_pull_secrets_core::sieve::Sieve;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::views::{Kept, Views};

/// The longest refusal that is not JSON, in bytes: as of a proxy. The rest of it is left out.
const MAX_OTHER_REFUSAL: usize = 4 * 1024;

/// An answer is too long for what it is about.
#[derive(Debug, thiserror::Error)]
#[error("the answer has more than {0} bytes")]
struct TooLong(usize);

/// Puts the layer around a service.
#[derive(Clone)]
pub(super) struct Sifting(Arc<Views>);

impl Sifting {
    pub(super) fn new(views: Views) -> Self {
        Self(Arc::new(views))
    }
}

impl<S> Layer<S> for Sifting {
    type Service = SiftingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SiftingService {
            inner,
            views: self.0.clone(),
        }
    }
}

/// A service whose answers are sifted.
pub(super) struct SiftingService<S> {
    inner: S,
    views: Arc<Views>,
}

impl<S, B> Service<Request<Body>> for SiftingService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<SiftedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let views = self.views.clone();
        let kept = views.of(request.uri(), request.headers());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            let passage = match kept {
                _ if !answer.status().is_success() => of_refusal(&views, &answer),
                Kept::Sifted(keep) => Passage::Sieve(Box::new(Sieve::new(keep))),
                Kept::AtMost(most) => Passage::Limit { most, passed: 0 },
                Kept::All => Passage::All,
            };
            Ok(answer.map(|inner| SiftedBody { inner, passage }))
        }
        .boxed()
    }
}

fn of_refusal<B>(views: &Views, answer: &Response<B>) -> Passage {
    let content_type = answer.headers().get(CONTENT_TYPE);
    let is_json = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    match views.of_refusal() {
        Kept::Sifted(keep) if is_json => Passage::Sieve(Box::new(Sieve::new(keep))),
        _ => Passage::Beginning(MAX_OTHER_REFUSAL),
    }
}

/// What passes of a body.
enum Passage {
    Sieve(Box<Sieve>),
    Limit {
        most: usize,
        passed: usize,
    },
    /// This many bytes more, and nothing of the rest.
    Beginning(usize),
    All,
}

impl Passage {
    fn pass(&mut self, data: Bytes) -> Result<Bytes, BoxError> {
        match self {
            Self::Sieve(sieve) => Ok(sieve.push(&data)?.into()),
            Self::Limit { most, passed } => {
                *passed += data.len();
                if *passed > *most {
                    return Err(TooLong(*most).into());
                }
                Ok(data)
            }
            Self::Beginning(left) => {
                let passed = data.slice(..data.len().min(*left));
                *left -= passed.len();
                Ok(passed)
            }
            Self::All => Ok(data),
        }
    }
}

/// The body of an answer.
pub(super) struct SiftedBody<B> {
    inner: B,
    passage: Passage,
}

impl<B> HttpBody for SiftedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A read from a socket makes way for other tasks now and then, so this loop does, too.
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let passed = match frame.map_err(Into::into).map(Frame::into_data) {
                Ok(Ok(data)) => self.passage.pass(data),
                // Trailers: the API server sends none.
                Ok(Err(_)) => continue,
                Err(error) => Err(error),
            };
            match passed {
                Ok(data) if data.is_empty() => {}
                passed => return Poll::Ready(Some(passed.map(Frame::data))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
