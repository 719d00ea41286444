//! What users have reported about other programs that give pods credentials of ECR, or that change
//! pods: each test names a report.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually, review};
use crate::leaks::{ask, file, log, without_keys};

trials!(
    blank_keys_leave_the_choice_to_the_chain,
    empty_token_file_of_pod_identity_heals,
    silent_agent_of_pod_identity_heals,
    image_that_a_policy_rewrites_is_seen,
);

/// github.com/deis/postgres/pull/167: a template sets the keys of a user that has none.
async fn blank_keys_leave_the_choice_to_the_chain(world: Arc<World>) -> Outcome {
    let uri = format!("{}/credentials/blank-keys", world.aws.url());
    let mut launch = world.replica("blank-keys");
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "HTTPS_PROXY",
        "NO_PROXY",
    ] {
        launch = launch.env(name, "");
    }
    let replica = launch
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-identity")
        .start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    namespace.assert_opens().await;
    Ok(())
}

/// A replica with the agent of EKS Pod Identity at this address.
async fn with_agent(world: &World, name: &str, agent: &str, token: &Path) -> Replica {
    let replica = without_keys(world.replica(name))
        .env(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{agent}/credentials/{name}"),
        )
        .env(
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.display().to_string(),
        )
        .start();
    replica.ready().await;
    replica
}

/// github.com/aws/aws-sdk-php/issues/3188: the agent answers that the token cannot be empty.
async fn empty_token_file_of_pod_identity_heals(world: Arc<World>) -> Outcome {
    let token = file(&world, "empty-token", "");
    let replica = with_agent(&world, "empty-token", world.aws.url(), &token).await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    let cause = Cause::AwsCredentialsMissing;
    assert_eq!(review::warnings(&answer), cause.warning());
    assert!(log(&replica).1.contains("StatusCode(400)"));
    fs::write(&token, "pod-identity")?;
    namespace.assert_opens().await;
    Ok(())
}

/// github.com/aws/secrets-store-csi-driver-provider-aws/issues/537: on a new node, the agent does not
/// answer yet.
async fn silent_agent_of_pod_identity_heals(world: Arc<World>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let agent = format!("http://{}", listener.local_addr()?);
    let target = world.aws.url().trim_start_matches("http://").to_owned();
    let answers = Arc::new(AtomicBool::new(false));
    let is_up = answers.clone();
    let serving = tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            if !is_up.load(Ordering::Relaxed) {
                silent.push(client);
                continue;
            }
            let target = target.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok()
            });
        }
    });
    let token = file(&world, "silent-agent", "pod-identity");
    let replica = with_agent(&world, "silent-agent", &agent, &token).await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), Cause::AwsTimeout.warning());
    eventually("a failed call", LIMIT, || async {
        let (_, text) = log(&replica);
        text.contains("cannot mint a token").then_some(())
    })
    .await;
    answers.store(true, Ordering::Relaxed);
    namespace.assert_opens().await;
    serving.abort();
    Ok(())
}

/// github.com/sse-secure-systems/connaisseur/pull/518: a policy rewrites public images to private ones.
async fn image_that_a_policy_rewrites_is_seen(world: Arc<World>) -> Outcome {
    let labels = json!({ "rewrites": "images" });
    let namespace = Namespace::with_labels(&world, labels.clone()).await;
    let image = namespace.image("app");
    let expression =
        format!("[JSONPatch{{op: 'replace', path: '/spec/containers/0/image', value: '{image}'}}]");
    let name = "rewrites-images";
    let policy = json!({
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": labels },
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }],
            },
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
        },
    });
    let binding = json!({ "metadata": { "name": name }, "spec": { "policyName": name } });
    create::<MutatingAdmissionPolicy>(&world, policy).await?;
    create::<MutatingAdmissionPolicyBinding>(&world, binding).await?;
    let mut attempt = 0;
    let stored = eventually("the policy rewrites the image", LIMIT, || {
        attempt += 1;
        let (namespace, image) = (&namespace, &image);
        async move {
            let name = format!("pod-{attempt}");
            let stored = namespace.pod(&name, "docker.io/library/app:1").await;
            let container = stored.spec.as_ref()?.containers.first()?;
            (container.image.as_ref() == Some(image)).then_some(stored)
        }
    })
    .await;
    assert_eq!(references(&stored), [SECRET]);
    namespace.assert_opens().await;
    Ok(())
}

/// Creates an object of the cluster from its JSON.
async fn create<K>(world: &World, object: Value) -> Outcome
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    let all: Api<K> = Api::all(world.cluster.client.clone());
    all.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    Ok(())
}
