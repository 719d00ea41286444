//! The one HTTP client for AWS: which proxy a request takes, how much of an answer is read, and what
//! is no answer of AWS.
//!
//! - A request to this machine or its metadata services takes no proxy, whatever the environment
//!   says: it carries tokens in the clear. All other requests take the proxies of the environment.
//! - No redirect is followed.
//! - An answer is read whole, within 256 KiB and 2 s, and judged before the SDK parses it.
//!
//! What went wrong stands in [`Seen`], because some providers of the SDK drop the error.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use ecr_pull_secrets_core::aws::address::is_local;
use ecr_pull_secrets_core::aws::answer::{AnswerFault, MAX_ANSWER, judge};
use http::Uri;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use parking_lot::Mutex;
use tokio::time::timeout;

/// The time for the body of an answer. The header has the time limit of the attempt.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer that is none of AWS's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} {fault}")]
pub(super) struct ForeignAnswer {
    /// Host of the request.
    host: String,
    fault: AnswerFault,
}

/// What the client saw during one call, retries and calls for credentials included.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The host of the last request.
    pub(super) host: Option<String>,
    /// The status of the last answer.
    pub(super) status: Option<u16>,
    /// The last answer, if it was none of AWS's.
    pub(super) foreign: Option<ForeignAnswer>,
}

tokio::task_local! {
    static SEEN: Arc<Mutex<Seen>>;
}

/// Runs a call, and says what the client saw meanwhile.
pub(super) async fn observed<T>(call: impl Future<Output = T>) -> (T, Seen) {
    let seen = Arc::<Mutex<Seen>>::default();
    let result = SEEN.scope(seen.clone(), call).await;
    let seen = seen.lock().clone();
    (result, seen)
}

fn note(change: impl FnOnce(&mut Seen)) {
    // A call that is not observed has no reader.
    let _ = SEEN.try_with(|seen| change(&mut seen.lock()));
}

/// The client. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct AwsHttp {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
    /// Further hosts that take no proxy.
    local: Arc<[String]>,
}

impl AwsHttp {
    /// Opens no connection yet. `local` are further hosts that take no proxy.
    pub(super) fn new(proxies: ProxyConfig, local: impl IntoIterator<Item = String>) -> Self {
        Self {
            proxied: with_proxies(proxies),
            direct: with_proxies(ProxyConfig::disabled()),
            local: local.into_iter().collect(),
        }
    }
}

fn with_proxies(proxies: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(proxies.clone()));
        connector.build()
    })
}

impl HttpClient for AwsHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(AwsConnector {
            client: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
            proxied: OnceLock::new(),
            direct: OnceLock::new(),
        })
    }
}

/// Two connectors, each made when it is first used: with it come the roots of the system.
#[derive(Debug)]
struct AwsConnector {
    client: AwsHttp,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
    proxied: OnceLock<SharedHttpConnector>,
    direct: OnceLock<SharedHttpConnector>,
}

impl AwsConnector {
    fn of(&self, host: &str) -> &SharedHttpConnector {
        let (connector, client) =
            if is_local(host) || self.client.local.iter().any(|own| own == host) {
                (&self.direct, &self.client.direct)
            } else {
                (&self.proxied, &self.client.proxied)
            };
        connector.get_or_init(|| client.http_connector(&self.settings, &self.components))
    }
}

impl HttpConnector for AwsConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().parse::<Uri>();
        let host = uri.ok().and_then(|uri| uri.host().map(str::to_owned));
        let host = host.unwrap_or_default();
        note(|seen| {
            *seen = Seen {
                host: Some(host.clone()),
                ..Seen::default()
            };
        });
        let answer = self.of(&host).call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            note(|seen| seen.status = Some(answer.status().as_u16()));
            read(answer).await.map_err(|error| match error {
                ReadError::Timeout => {
                    ConnectorError::timeout("the body of the answer does not arrive in time".into())
                }
                ReadError::Answer(fault) => {
                    let foreign = ForeignAnswer { host, fault };
                    note(|seen| seen.foreign = Some(foreign.clone()));
                    ConnectorError::other(foreign.into(), None)
                }
            })
        })
    }
}

/// Why an answer was not passed on.
enum ReadError {
    Timeout,
    Answer(AnswerFault),
}

/// Reads the whole answer, if it is one of AWS's.
async fn read(mut answer: HttpResponse) -> Result<HttpResponse, ReadError> {
    let body = Limited::new(answer.take_body(), MAX_ANSWER).collect();
    let body = match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(ReadError::Answer(AnswerFault::TooLarge));
        }
        Ok(Err(_)) => return Err(ReadError::Answer(AnswerFault::Truncated)),
        Err(_) => return Err(ReadError::Timeout),
    };
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").unwrap_or_default();
    judge(status, content_type, &body).map_err(ReadError::Answer)?;
    *answer.body_mut() = SdkBody::from(body);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sdk_ecr::config::retry::RetryConfig;
    use aws_sdk_ecr::config::{BehaviorVersion, Region};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Answers every request on a free port, and reports its own name with each. The port.
    async fn answering(
        name: &'static str,
        answer: &'static str,
        asked: mpsc::UnboundedSender<&'static str>,
    ) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                let _ = asked.send(name);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    const EMPTY_LIST: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n\
                              connection: close\r\ncontent-length: 24\r\n\r\n{\"authorizationData\":[]}";

    fn client(http: &AwsHttp, url: &str) -> aws_sdk_ecr::Client {
        let config = aws_sdk_ecr::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("AKIA", "s3cret", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(http.clone())
            .endpoint_url(url);
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    #[tokio::test]
    async fn local_address_takes_no_proxy() {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let proxy = answering("proxy", EMPTY_LIST, asked.clone()).await;
        let target = answering("target", EMPTY_LIST, asked).await;
        let proxies = ProxyConfig::all(format!("http://127.0.0.1:{proxy}")).unwrap();
        let http = AwsHttp::new(proxies, ["own.localdomain".to_owned()]);
        for (url, wanted) in [
            (format!("http://127.0.0.1:{target}"), "target"),
            (format!("http://localhost:{target}"), "target"),
            ("http://ecr.example.com".to_owned(), "proxy"),
        ] {
            let call = client(&http, &url).get_authorization_token().send();
            let (answer, seen) = observed(call).await;
            assert!(answer.is_ok(), "{url}");
            assert_eq!(asks.recv().await, Some(wanted), "{url}");
            assert_eq!((seen.status, seen.foreign), (Some(200), None));
        }
        // A host of the container's credentials: no name server knows it, and the proxy is not asked.
        let own = client(&http, "http://own.localdomain");
        assert!(own.get_authorization_token().send().await.is_err());
        // The services of a node, which this machine may not have: no answer is awaited.
        for host in ["169.254.170.23", "169.254.169.254"] {
            let call = client(&http, &format!("http://{host}"));
            let call = call.get_authorization_token().send();
            let _ = timeout(Duration::from_millis(500), call).await;
        }
        assert!(asks.try_recv().is_err());
    }

    #[tokio::test]
    async fn foreign_answer_is_not_passed_on() {
        for (answer, fault) in [
            (
                "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n",
                AnswerFault::Redirect(307),
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{\"a\"",
                AnswerFault::Truncated,
            ),
        ] {
            let (asked, _asks) = mpsc::unbounded_channel();
            let port = answering("target", answer, asked).await;
            let http = AwsHttp::new(ProxyConfig::disabled(), []);
            let client = client(&http, &format!("http://127.0.0.1:{port}"));
            let (answer, seen) = observed(client.get_authorization_token().send()).await;
            assert!(answer.is_err());
            let foreign = seen.foreign.unwrap();
            assert_eq!((foreign.host.as_str(), foreign.fault), ("127.0.0.1", fault));
        }
    }
}
