//! The typed way to control a stand-in from a test.
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
        Absent, CallCount, Clock, Expire, FaultRule, OidcProvider, Policy, PullCount, Role,
        Secrets, User, VERDICT_HEADER, Verdict,
    },
};

pub use region::{Region, Total};

/// Why a call to the stand-in failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("cannot write the request")]
    Request(#[from] http::Error),
    /// The stand-in did not answer.
    #[error("cannot reach the stand-in")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer ended early.
    #[error("cannot read the stand-in's answer")]
    Body(#[from] hyper::Error),
    /// The answer is not the expected JSON.
    #[error("cannot parse the stand-in's answer")]
    Json(#[from] serde_json::Error),
    /// The stand-in refused the call.
    #[error("{call} answered {status}: {message}")]
    Refused {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: StatusCode,
        /// Body of the answer.
        message: String,
    },
    /// The registry's answer carries no verdict.
    #[error("the answer names no verdict: this is not the stand-in's registry")]
    NoVerdict,
}

/// A client of a stand-in. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    url: String,
    http: Http<HttpConnector, Full<Bytes>>,
}

/// An answer of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The stand-in's verdict.
    pub verdict: Verdict,
    /// HTTP status.
    pub status: StatusCode,
    /// Manifest or error.
    pub body: Bytes,
}

impl Client {
    /// A client of the stand-in at `http://ADDRESS:PORT`.
    pub fn new(url: &str) -> Self {
        // Each test has its own runtime, and a pooled connection ends with the runtime that opened it.
        let http = Http::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            http,
        }
    }

    /// The endpoint of ECR and STS.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A view that sets and counts only what belongs to one region.
    pub fn region(&self, region: &str) -> Region {
        Region::new(self.clone(), region)
    }

    /// Adds a fault, limited as the rule says.
    pub async fn fault(&self, rule: &FaultRule) -> Result<(), Error> {
        self.put("faults", rule).await
    }

    /// Removes all faults, including those of other tests.
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

    /// Adds an OIDC provider.
    pub async fn oidc_provider(&self, provider: &OidcProvider) -> Result<(), Error> {
        self.put("oidc-providers", provider).await
    }

    /// Removes an OIDC provider.
    pub async fn remove_oidc_provider(&self, account: &str, issuer: &str) -> Result<(), Error> {
        let (account, issuer) = (encode(account), encode(issuer));
        let path = format!("/admin/oidc-providers?account={account}&issuer={issuer}");
        self.send(Method::DELETE, &path, Bytes::new())
            .await
            .map(drop)
    }

    /// Sets what a principal may do.
    pub async fn policy(&self, policy: &Policy) -> Result<(), Error> {
        self.put("policy", policy).await
    }

    /// Removes a repository or a tag.
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

    /// Expires tokens and sessions now.
    pub async fn expire(&self, expire: &Expire) -> Result<(), Error> {
        self.send(
            Method::POST,
            "/admin/expire",
            serde_json::to_vec(expire)?.into(),
        )
        .await
        .map(drop)
    }

    /// Uploads an OCI image layout and returns the new digest of the tag.
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

    /// The counts of calls in every region.
    pub async fn calls(&self) -> Result<Vec<CallCount>, Error> {
        self.get("/admin/calls").await
    }

    /// The counts of pulls in every region.
    pub async fn pulls(&self) -> Result<Vec<PullCount>, Error> {
        self.get("/admin/pulls").await
    }

    /// Every text that must not appear in a log.
    pub async fn secrets(&self) -> Result<Secrets, Error> {
        self.get("/admin/secrets").await
    }

    /// Restores the state after start; disturbs every other test.
    pub async fn reset(&self) -> Result<(), Error> {
        self.send(Method::POST, "/admin/reset", Bytes::new())
            .await
            .map(drop)
    }

    /// The verdict on a pull of `HOST/REPOSITORY:latest` with a docker config's `auth`, as a container runtime sends it.
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

    /// Gets a manifest from the registry at `host`. An empty `auth` sends no credentials.
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
