//! The accounts that attempt it: ours with its token, ours with every right, and one with our rights that
//! the guards do not bind.

use std::sync::Arc;

use futures::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt as _;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::client::Body as KubeBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::request::{self, Body, Request, Row, Verdict};
use super::secrets;
use super::shared::STORE;
use crate::harness::namespace::Namespace;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

/// Concurrent rows.
const AT_ONCE: usize = 8;

/// An account that sends requests.
pub struct Account {
    client: Client,
    /// User name at the API server.
    user: String,
    /// Headers of every request.
    headers: Vec<(&'static str, String)>,
    /// Client of an administrator, for reads.
    admin: Client,
}

/// An answer of the API server.
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// The `message` of the Status; empty for a success.
    pub message: String,
}

impl Account {
    /// Our ServiceAccount, by the token that the program itself has.
    pub async fn ours(world: &World) -> Self {
        Self::by_kubeconfig(world, kubeconfig(world), OURS, OURS).await
    }

    /// Our ServiceAccount as if cluster-admin were bound to it.
    pub fn ours_with_every_right(world: &World) -> Self {
        Self::with_every_right(world, OURS)
    }

    /// The same of an installation in this namespace.
    ///
    /// A real binding would disturb concurrent tests. Instead an administrator impersonates our user,
    /// which is all that the guards check, with a group that has every right.
    pub fn with_every_right(world: &World, namespace: &str) -> Self {
        let user = service_account(namespace, OURS);
        let headers = vec![
            ("impersonate-user", user.clone()),
            ("impersonate-group", "system:masters".to_owned()),
        ];
        Self {
            client: world.cluster.client.clone(),
            user,
            headers,
            admin: world.cluster.client.clone(),
        }
    }

    /// An account by its token.
    pub async fn with_token(world: &World, namespace: &str, name: &str, token: &str) -> Self {
        let mut kubeconfig = kubeconfig(world);
        kubeconfig["users"][0]["user"]["token"] = json!(token);
        Self::by_kubeconfig(world, kubeconfig, namespace, name).await
    }

    async fn by_kubeconfig(world: &World, kubeconfig: Value, namespace: &str, name: &str) -> Self {
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Self {
            client: Client::try_from(config.expect("a kubeconfig")).expect("a client"),
            user: service_account(namespace, name),
            headers: Vec::new(),
            admin: world.cluster.client.clone(),
        }
    }

    /// Sends a request.
    pub async fn send(&self, request: &Request) -> Answer {
        eventually("no conflict with another test", LIMIT, || async {
            let (answer, _) = self.exchange(request).await;
            // Another test may write between our read and our write.
            let stale =
                matches!(request.body, Body::AsStored) && answer.status == StatusCode::CONFLICT;
            (!stale).then_some(answer)
        })
        .await
    }

    /// Reads an object.
    pub async fn read(&self, request: &Request) -> Value {
        let (answer, response) = self.exchange(request).await;
        let body = response.unwrap_or_else(|| panic!("{}: {}", request.attempt, answer.message));
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        serde_json::from_slice(&bytes).expect("an object is JSON")
    }

    /// Texts of the rows whose answer differs from the expected verdict.
    pub async fn wrong<'a>(
        &self,
        rows: &'a [Row],
        expected: impl Fn(&'a Row) -> &'a Verdict,
    ) -> Vec<String> {
        assert!(!rows.is_empty());
        let mut wrong = Vec::new();
        for rows in rows.chunks(AT_ONCE) {
            let answers = join_all(rows.iter().map(|row| self.send(&row.request))).await;
            wrong.extend(
                rows.iter().zip(answers).filter_map(|(row, answer)| {
                    self.complaint(&row.request, expected(row), &answer)
                }),
            );
        }
        wrong
    }

    /// What is wrong with an answer, if it is wrong.
    pub fn complaint(
        &self,
        request: &Request,
        expected: &Verdict,
        answer: &Answer,
    ) -> Option<String> {
        if self.is(answer, expected) {
            return None;
        }
        Some(format!(
            "{}: {} {}\n    expected of {}: {expected:?}\n    came: {} {}",
            request.attempt, request.method, request.path, self.user, answer.status, answer.message
        ))
    }

    fn is(&self, answer: &Answer, verdict: &Verdict) -> bool {
        let Answer { status, message } = answer;
        let forbidden = *status == StatusCode::FORBIDDEN;
        let by_rbac = forbidden && message.contains(&format!("User \"{}\" cannot ", self.user));
        let by_guard = message.contains("ValidatingAdmissionPolicy '");
        match verdict {
            Verdict::Allowed => status.is_success(),
            Verdict::Rbac => by_rbac && !by_guard,
            Verdict::Guard(policy, says) => {
                let head = format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: "
                );
                forbidden && message.contains(&head) && message.ends_with(says)
            }
            Verdict::Refused(code, says) => {
                status.as_u16() == *code && message.contains(says) && !by_rbac && !by_guard
            }
        }
    }

    /// The answer, and for a success the unread body: a watch does not end.
    async fn exchange(&self, request: &Request) -> (Answer, Option<KubeBody>) {
        let body = match &request.body {
            Body::None => Vec::new(),
            Body::Json(_, body) => body.to_string().into_bytes(),
            Body::AsStored => {
                let look = http::Request::get(&request.path).body(Vec::new()).unwrap();
                let stored = self.admin.request_text(look).await;
                stored.expect("the object is there").into_bytes()
            }
        };
        let mut sent = http::Request::builder()
            .method(&request.method)
            .uri(request.target())
            .body(KubeBody::from(body))
            .expect("a request");
        let headers = sent.headers_mut();
        headers.extend(
            request
                .content_type()
                .map(|(name, value)| (name, http::HeaderValue::from_static(value))),
        );
        for (name, value) in request.headers {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        // A request that impersonates another user has headers of its own.
        if request.headers.is_empty() {
            for (name, value) in &self.headers {
                headers.insert(*name, value.parse().expect("a header"));
            }
        }
        let response = self.client.send(sent).await.expect("an answer");
        let status = response.status();
        let message = String::new();
        if status.is_success() {
            return (Answer { status, message }, Some(response.into_body()));
        }
        let bytes = response.into_body().collect().await;
        let bytes = bytes.expect("a whole body").to_bytes();
        let message = match serde_json::from_slice::<Value>(&bytes) {
            Ok(body) => body["message"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        (Answer { status, message }, None)
    }
}

/// A second account with the ClusterRole and the Role of ours. The guards do not know it.
pub struct Unguarded {
    /// The account.
    pub account: Account,
    binding: String,
}

impl Unguarded {
    /// Creates an account in a namespace, binds the rights, and waits until they hold.
    pub async fn new(world: &Arc<World>, namespace: &Namespace) -> Self {
        let name = "unguarded";
        let object = json!({ "metadata": { "name": name } });
        let _: ServiceAccount = namespace.create(object).await.expect("a ServiceAccount");
        let binding = format!("{name}-{}", namespace.name);
        let object = |kind: &str| {
            json!({
                "metadata": { "name": binding },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": OURS },
                "subjects": [
                    { "kind": "ServiceAccount", "name": name, "namespace": namespace.name },
                ],
            })
        };
        let everywhere = serde_json::from_value(object("ClusterRole")).unwrap();
        bindings(world)
            .create(&PostParams::default(), &everywhere)
            .await
            .expect("a binding");
        let beside = serde_json::from_value(object("Role")).unwrap();
        bindings_beside(world)
            .create(&PostParams::default(), &beside)
            .await
            .expect("a binding");
        let token = namespace
            .api::<ServiceAccount>()
            .create_token_request(name, &PostParams::default(), &TokenRequest::default())
            .await
            .expect("a token")
            .status
            .and_then(|status| status.token)
            .expect("a token");
        let account = Account::with_token(world, &namespace.name, name, &token).await;
        for path in ["/api/v1/namespaces".to_owned(), secrets::path(OURS, STORE)] {
            let allowed = request::get("a right of ours", &path);
            eventually("the rights of the second account", LIMIT, || async {
                let answer = account.send(&allowed).await;
                answer.status.is_success().then_some(())
            })
            .await;
        }
        Self { account, binding }
    }

    /// Removes the rights.
    pub async fn remove(self, world: &Arc<World>) {
        bindings(world)
            .delete(&self.binding, &DeleteParams::default())
            .await
            .expect("the binding goes");
        bindings_beside(world)
            .delete(&self.binding, &DeleteParams::default())
            .await
            .expect("the binding goes");
    }
}

fn bindings(world: &Arc<World>) -> Api<ClusterRoleBinding> {
    Api::all(world.cluster.client.clone())
}

fn bindings_beside(world: &Arc<World>) -> Api<RoleBinding> {
    Api::namespaced(world.cluster.client.clone(), OURS)
}

fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Token of our account.
fn kubeconfig(world: &World) -> Value {
    let text = std::fs::read_to_string(&world.kubeconfig).expect("a kubeconfig");
    serde_json::from_str(&text).expect("a kubeconfig is JSON")
}
