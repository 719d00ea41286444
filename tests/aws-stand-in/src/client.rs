//! The typed way to steer a stand-in from a test.
//!
//! ```no_run
//! # async fn example() -> Result<(), aws_stand_in::client::Error> {
//! use aws_stand_in::{client::Client, spec::{Action, Fault}};
//!
//! let region = Client::new("http://127.0.0.1:4566").region("test-land-17");
//! region.fault(Fault::Hang).await?;
//! region.clear_faults().await?;
//! assert_eq!(region.total(Action::GetAuthorizationToken).await?.succeeded, 1);
//! # Ok(())
//! # }
//! ```

mod region;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    encoding::percent_encode,
    spec::{
        Absent, CallCount, Clock, Expire, FaultRule, Policy, PullCount, Role, Secrets, User,
        VERDICT_HEADER, Verdict,
    },
};

pub use region::{Region, Total};

/// Why the stand-in could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be written.
    #[error("writing the request")]
    Request(#[from] http::Error),
    /// No answer.
    #[error("asking the stand-in")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("reading the stand-in's answer")]
    Body(#[from] hyper::Error),
    /// The answer is not what it should be.
    #[error("understanding the stand-in's answer")]
    Json(#[from] serde_json::Error),
    /// The stand-in refuses.
    #[error("{call} answered {status}: {message}")]
    Refused {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: StatusCode,
        /// The body.
        message: String,
    },
    /// The registry's answer carries no verdict.
    #[error("the answer names no verdict: this is not the stand-in's registry")]
    NoVerdict,
}

/// Steers a stand-in. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    url: String,
    http: Http<HttpConnector, Full<Bytes>>,
}

/// What the registry answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// In the stand-in's words.
    pub verdict: Verdict,
    /// As a client sees it.
    pub status: StatusCode,
    /// The manifest, or the error.
    pub body: Bytes,
}

impl Client {
    /// For a stand-in at `http://ADDRESS:PORT`.
    pub fn new(url: &str) -> Self {
        // Tests run in runtimes of their own, and a pooled connection dies with the runtime that opened it.
        let http = Http::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            http,
        }
    }

    /// Where it is: the endpoint of ECR and STS.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A view that sets and counts only what concerns one region.
    pub fn region(&self, region: &str) -> Region {
        Region::new(self.clone(), region)
    }

    /// Adds a fault, as wide or narrow as the rule says.
    pub async fn fault(&self, rule: &FaultRule) -> Result<(), Error> {
        self.put("faults", rule).await
    }

    /// Removes all faults, those of other tests too.
    pub async fn clear_faults(&self) -> Result<(), Error> {
        self.send(Method::DELETE, "/admin/faults", Bytes::new())
            .await
            .map(drop)
    }

    /// Moves the clock.
    pub async fn clock(&self, clock: &Clock) -> Result<(), Error> {
        self.put("clock", clock).await
    }

    /// Adds a user.
    pub async fn user(&self, user: &User) -> Result<(), Error> {
        self.put("principals", user).await
    }

    /// Adds a role.
    pub async fn role(&self, role: &Role) -> Result<(), Error> {
        self.put("roles", role).await
    }

    /// Sets what a principal may do.
    pub async fn policy(&self, policy: &Policy) -> Result<(), Error> {
        self.put("policy", policy).await
    }

    /// Makes a repository or a tag not exist.
    pub async fn absent(&self, absent: &Absent) -> Result<(), Error> {
        self.put("absent", absent).await
    }

    /// Undoes [`Client::absent`].
    pub async fn present(&self, absent: &Absent) -> Result<(), Error> {
        self.send(
            Method::DELETE,
            "/admin/absent",
            serde_json::to_vec(absent)?.into(),
        )
        .await
        .map(drop)
    }

    /// Ends tokens and sessions now.
    pub async fn expire(&self, expire: &Expire) -> Result<(), Error> {
        self.send(
            Method::POST,
            "/admin/expire",
            serde_json::to_vec(expire)?.into(),
        )
        .await
        .map(drop)
    }

    /// Uploads an OCI image layout and says the digest that the tag now has.
    pub async fn upload(
        &self,
        repository: &str,
        tag: &str,
        layout: Bytes,
    ) -> Result<String, Error> {
        let path = format!(
            "/admin/images?repository={}&tag={}",
            encode(repository),
            encode(tag)
        );
        let answer: Value = serde_json::from_slice(&self.send(Method::POST, &path, layout).await?)?;
        Ok(answer["digest"].as_str().unwrap_or_default().to_owned())
    }

    /// All counts of calls, of every region.
    pub async fn calls(&self) -> Result<Vec<CallCount>, Error> {
        self.get("/admin/calls").await
    }

    /// All counts of pulls, of every region.
    pub async fn pulls(&self) -> Result<Vec<PullCount>, Error> {
        self.get("/admin/pulls").await
    }

    /// Everything that must not show in a log.
    pub async fn secrets(&self) -> Result<Secrets, Error> {
        self.get("/admin/secrets").await
    }

    /// As after the start; disturbs every other test.
    pub async fn reset(&self) -> Result<(), Error> {
        self.send(Method::POST, "/admin/reset", Bytes::new())
            .await
            .map(drop)
    }

    /// Whether a docker config's `auth` opens `HOST/REPOSITORY:latest`, as a container runtime would ask.
    pub async fn registry_opens(
        &self,
        host: &str,
        repository: &str,
        auth: &str,
    ) -> Result<Verdict, Error> {
        Ok(self
            .registry_get(host, repository, "latest", auth)
            .await?
            .verdict)
    }

    /// Asks the registry at `host` for a manifest and tells the whole answer. An empty `auth` sends no credentials.
    pub async fn registry_get(
        &self,
        host: &str,
        repository: &str,
        reference: &str,
        auth: &str,
    ) -> Result<Opened, Error> {
        let mut request = Request::get(format!(
            "{}/v2/{repository}/manifests/{reference}",
            self.url
        ))
        .header(header::HOST, host);
        if !auth.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Basic {auth}"));
        }
        let response = self.http.request(request.body(Full::default())?).await?;
        let verdict = response
            .headers()
            .get(VERDICT_HEADER)
            .and_then(|name| name.to_str().ok());
        let verdict = serde_json::from_value(json!(verdict.ok_or(Error::NoVerdict)?))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Opened {
            verdict,
            status,
            body,
        })
    }

    async fn put(&self, what: &str, body: &impl Serialize) -> Result<(), Error> {
        self.send(
            Method::PUT,
            &format!("/admin/{what}"),
            serde_json::to_vec(body)?.into(),
        )
        .await
        .map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(
            &self.send(Method::GET, path, Bytes::new()).await?,
        )?)
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let call = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .body(Full::new(body))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let message = String::from_utf8_lossy(&body).into_owned();
        Err(Error::Refused {
            call,
            status,
            message,
        })
    }
}

fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), false)
}
