//! What `docs/CONFIGURATION.md` states about proxies, authorities and other programs.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::core::v1::Pod;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::tools::{root, run, tool};
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};
use crate::ownership::{adopted, ask, login};

trials!(
    ssl_cert_file_replaces_authorities_for_aws,
    metadata_without_an_answer_gives_no_credentials,
    pod_that_names_the_secret_is_stored_unchanged,
    secret_that_helm_took_over_is_adopted_again,
    registration_sorts_late_and_refuses_no_pod,
);

/// The stand-in behind TLS; the name is that of this machine.
async fn serve_tls(
    world: &World,
) -> Result<(String, String), Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, private)?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    let target = world.aws.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(target).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok()
            });
        }
    });
    Ok((url, certificate.pem()))
}

async fn ssl_cert_file_replaces_authorities_for_aws(world: Arc<World>) -> Outcome {
    let (url, authority) = serve_tls(&world).await?;
    let path = world.directory().join("authority-of-aws.pem");
    fs::write(&path, authority)?;
    let start = |name: &str, change: &dyn Fn(Launch) -> Launch| {
        let launch = world.replica(name).env("AWS_ENDPOINT_URL", url.as_str());
        change(launch).start()
    };
    let file = path.display().to_string();
    let trusting = start("ssl-cert-file", &|launch| {
        launch.env("SSL_CERT_FILE", file.as_str())
    });
    trusting.ready().await;
    let namespace = Namespace::new(&world).await;
    assert_eq!(review::warnings(&ask(&trusting, &namespace).await), "");
    namespace.assert_opens().await;
    // Without it, no public CA has issued the certificate.
    let other = start("no-ssl-cert-file", &|launch| launch);
    other.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&other, &namespace).await;
    assert_eq!(review::warnings(&answer), Cause::AwsUnreachable.warning());
    trusting.stop();
    other.stop();
    Ok(())
}

/// With a hop limit of 1, the answer of the metadata service does not reach a pod.
async fn metadata_without_an_answer_gives_no_credentials(world: Arc<World>) -> Outcome {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", silent.local_addr()?);
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let launch = world.replica("one-hop");
    let launch = launch
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    let replica = launch.start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    eventually("its cause", LIMIT, || async {
        let answer = ask(&replica, &namespace).await;
        (review::warnings(&answer) == Cause::AwsCredentialsMissing.warning()).then_some(())
    })
    .await;
    replica.stop();
    held.abort();
    Ok(())
}

async fn pod_that_names_the_secret_is_stored_unchanged(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let mut template = pod("compared", &namespace.image("app"));
    template["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    let stored: Pod = namespace.create(template).await?;
    assert_eq!(references(&stored), [SECRET]);
    // Without it, the stored pod differs from its template.
    let stored = namespace.pod("other", &namespace.image("app")).await;
    assert_eq!(references(&stored), [SECRET]);
    let mut out = pod("opted-out", &namespace.image("app"));
    out["metadata"]["labels"] = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let stored: Pod = namespace.create(out).await?;
    assert!(references(&stored).is_empty());
    Ok(())
}

async fn secret_that_helm_took_over_is_adopted_again(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    ask(&world.replicas()[0], &namespace).await;
    let ours = namespace.assert_opens().await;
    let chart = world.directory().join("chart-of-a-user");
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: of-a-user\nversion: 0.1.0\n",
    )?;
    let config = json!({ "auths": { namespace.host(): login("AWS") } }).to_string();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": SECRET },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": config },
    });
    fs::write(chart.join("templates/secret.yaml"), secret.to_string())?;
    let helm = |flags: &[&str]| {
        let mut helm = Command::new(tool("helm"));
        helm.args(["upgrade", "--install", "of-a-user"])
            .arg(&chart)
            .args(flags);
        helm.args(["--namespace", &namespace.name, "--kubeconfig"]);
        helm.arg(&world.cluster.kubeconfig);
        helm
    };
    let refused = helm(&[]).output()?;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && error.contains(SECRET),
        "{error}"
    );
    // Again with another content, as an upgrade.
    for _ in 0..2 {
        run(&mut helm(&["--take-ownership"]));
        ask(&world.replicas()[0], &namespace).await;
        let again = adopted(&namespace).await;
        assert_eq!(again.metadata.uid, ours.metadata.uid);
        assert_eq!(docker::hosts(&again), [namespace.host()]);
    }
    Ok(())
}

async fn registration_sorts_late_and_refuses_no_pod(_world: Arc<World>) -> Outcome {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", "ecr-pull-secrets"])
        .arg(root().join("manifests/helm"));
    let rendered = run(&mut helm);
    let mut documents = rendered.split("\n---\n");
    let kind = "kind: MutatingWebhookConfiguration\n";
    let registration = documents
        .find(|text| text.contains(kind))
        .expect("a registration");
    for line in [
        "name: zz-ecr-pull-secrets\n",
        "reinvocationPolicy: IfNeeded",
        "failurePolicy: Ignore",
    ] {
        assert!(registration.contains(line), "{line}: {registration}");
    }
    Ok(())
}
