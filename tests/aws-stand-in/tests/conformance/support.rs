//! A stand-in for one test, and calls signed by hand.

use aws_stand_in::{
    Handle, Signable,
    client::{Client, Region},
    spec::{Role, User, WebIdentity},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) const REGION: &str = "test-land-1";
pub(crate) const USER: &str = "arn:aws:iam::123456789012:user/default";
pub(crate) const ROLE: &str = "arn:aws:iam::210987654321:role/puller";
pub(crate) const ISSUER: &str = "https://issuer.example.com";
pub(crate) const SUBJECT: &str = "system:serviceaccount:pull:secrets";

pub(crate) struct World {
    _handle: Handle,
    pub(crate) client: Client,
    pub(crate) region: Region,
}

pub(crate) async fn world() -> World {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handle = aws_stand_in::serve(listener).unwrap();
    let client = handle.client();
    let region = client.region(REGION);
    World {
        _handle: handle,
        client,
        region,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests compare with the stand-in's clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of the first XML element with this name.
    pub(crate) fn xml(&self, name: &str) -> &str {
        let rest = self
            .text()
            .split_once(&format!("<{name}>"))
            .map_or("", |(_, rest)| rest);
        rest.split_once('<').map_or("", |(text, _)| text)
    }

    /// Status, code and message of an ECR error. Checks the header against the body.
    pub(crate) fn ecr_error(&self) -> (u16, String, String) {
        let body = self.json();
        let code = body["__type"].as_str().unwrap().to_owned();
        assert_eq!(self.headers["x-amzn-errortype"], code.as_str());
        (
            self.status.as_u16(),
            code,
            body["message"].as_str().unwrap().to_owned(),
        )
    }

    pub(crate) fn sts_error(&self) -> (u16, &str, &str) {
        (self.status.as_u16(), self.xml("Code"), self.xml("Message"))
    }

    /// The only authorization of a successful ECR answer.
    pub(crate) fn authorization(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["authorizationData"][0].clone()
    }
}

pub(crate) async fn send(request: Request<Full<Bytes>>) -> Answer {
    try_send(request).await.unwrap()
}

pub(crate) async fn try_send(
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper_util::client::legacy::Error> {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = http.request(request).await?.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

/// A caller that signs. A test can make each part wrong.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    pub(crate) region: &'static str,
    pub(crate) service: Option<&'static str>,
    /// Seconds by which the caller's clock is ahead.
    pub(crate) skew: i64,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            key: aws_stand_in::DEFAULT_ACCESS_KEY_ID.to_owned(),
            secret: aws_stand_in::DEFAULT_SECRET_ACCESS_KEY.to_owned(),
            session_token: None,
            region: REGION,
            service: None,
            skew: 0,
        }
    }
}

impl Caller {
    /// The session that an STS answer describes.
    pub(crate) fn session(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self {
            key: answer.xml("AccessKeyId").to_owned(),
            secret: answer.xml("SecretAccessKey").to_owned(),
            session_token: Some(answer.xml("SessionToken").to_owned()),
            ..Self::default()
        }
    }

    pub(crate) fn ecr_request(&self, world: &World, body: &str) -> Request<Full<Bytes>> {
        let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target),
        ];
        self.signed(world, "ecr", &headers, body)
    }

    pub(crate) async fn mint(&self, world: &World) -> Answer {
        send(self.ecr_request(world, "{}")).await
    }

    pub(crate) async fn sts(&self, world: &World, fields: &[(&str, &str)]) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        send(self.signed(world, "sts", &headers, &form(fields))).await
    }

    /// Calls `AssumeRole` for [`ROLE`], with added or replaced fields.
    pub(crate) async fn assume(&self, world: &World, more: &[(&str, &str)]) -> Answer {
        let mut fields = vec![("Action", "AssumeRole"), ("Version", "2011-06-15")];
        for default in [("RoleArn", ROLE), ("RoleSessionName", "session")] {
            if !more.iter().any(|(name, _)| *name == default.0) {
                fields.push(default);
            }
        }
        fields.extend_from_slice(more);
        self.sts(world, &fields).await
    }

    fn signed(
        &self,
        world: &World,
        service: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Request<Full<Bytes>> {
        let url = world.client.url();
        let time = now() + SignedDuration::from_secs(self.skew);
        let mut map = HeaderMap::new();
        map.insert(
            "host",
            HeaderValue::from_str(url.trim_start_matches("http://")).unwrap(),
        );
        let date = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        map.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
        if let Some(token) = &self.session_token {
            map.insert(
                "x-amz-security-token",
                HeaderValue::from_str(token).unwrap(),
            );
        }
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let signable = Signable {
            method: "POST",
            path: "/",
            query: "",
            headers: &map,
            body: body.as_bytes(),
        };
        let service = self.service.unwrap_or(service);
        let authorization = aws_stand_in::sign(
            &self.key,
            &self.secret,
            self.region,
            service,
            time,
            signable,
        );
        map.insert(
            "authorization",
            HeaderValue::from_str(&authorization).unwrap(),
        );
        let mut request = Request::new(Full::from(body.to_owned()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("{url}/").parse().unwrap();
        *request.headers_mut() = map;
        request
    }
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// [`ROLE`], trusted by the default account and by one workload.
pub(crate) fn role() -> Role {
    Role {
        arn: ROLE.to_owned(),
        external_id: None,
        trusts: vec!["123456789012".to_owned()],
        web_identities: vec![WebIdentity {
            issuer: ISSUER.to_owned(),
            subject: SUBJECT.to_owned(),
        }],
        max_session_seconds: 7200,
    }
}

pub(crate) fn user(account: &str, name: &str) -> (User, Caller) {
    let key = format!("AKIA{}", name.to_uppercase());
    let secret = format!("{name}-secret-access-key");
    let user = User {
        access_key_id: key.clone(),
        secret_access_key: secret.clone(),
        account: account.to_owned(),
        arn: format!("arn:aws:iam::{account}:user/{name}"),
    };
    (
        user,
        Caller {
            key,
            secret,
            ..Caller::default()
        },
    )
}

/// A token as an issuer signs it, with the test's changes to the claims.
pub(crate) fn web_identity_token(changes: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": ["sts.amazonaws.com"],
        "exp": now().as_second() + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256", "kid": "1", "typ": "JWT"}));
    format!(
        "{header}.{}.{}",
        part(claims),
        URL_SAFE_NO_PAD.encode("a signature")
    )
}
