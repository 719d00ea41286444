//! A proxy that records what it is sent: tokens for this machine never reach it, calls of AWS do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_stand_in::spec::Action;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{ask, assert_nothing_leaks, file, web_identity, without_keys};
use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::Namespace;
use crate::harness::{LIMIT, Outcome, World, eventually, review};

trials!(
    container_token_takes_no_proxy,
    instance_metadata_takes_no_proxy,
    endpoint_is_of_the_kind_that_environment_wants,
);

/// A proxy for plain HTTP in front of the stand-in. Every name leads to the stand-in.
struct Recorder {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    async fn start(stand_in: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let (record, target) = (
            sent.clone(),
            stand_in.trim_start_matches("http://").to_owned(),
        );
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target.clone(), record.clone()));
            }
        });
        Ok(Self { address, sent })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was sent, as text.
    fn sent(&self) -> String {
        let sent = self.sent.lock().expect("no panic");
        String::from_utf8_lossy(&sent).into_owned()
    }
}

/// Hands bytes through in both directions. A server takes the whole URL of a request to a proxy, too.
async fn relay(client: TcpStream, target: String, record: Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(target).await?.into_split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            record
                .lock()
                .expect("no panic")
                .extend_from_slice(&buffer[..count]);
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::try_join!(up, async { down.await.map(drop) }).map(drop)
}

/// Mints with credentials from this machine while a proxy is set for all else.
async fn mint_behind_a_proxy(
    world: &Arc<World>,
    name: &str,
    change: impl Fn(Launch) -> Launch,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let proxy = Recorder::start(world.aws.url()).await?;
    let launch = without_keys(world.replica(name))
        .env("AWS_ENDPOINT_URL", "http://aws.example.com")
        .env("HTTP_PROXY", proxy.url())
        // Leaves nothing out.
        .env("NO_PROXY", "none.example.com");
    let replica = change(launch).start();
    replica.ready().await;
    let namespace = Namespace::new(world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    namespace.assert_opens().await;
    let minted = namespace
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    assert!(minted.succeeded >= 1);
    assert_nothing_leaks(world, &[replica], &[]).await;
    let sent = proxy.sent();
    assert!(
        sent.contains("http://aws.example.com/"),
        "the proxy was not asked: {sent}"
    );
    Ok(sent)
}

async fn container_token_takes_no_proxy(world: Arc<World>) -> Outcome {
    let token = web_identity("proxy");
    let path = file(&world, "proxied-token", &token);
    let url = format!("{}/credentials/proxied", world.aws.url());
    let sent = mint_behind_a_proxy(&world, "proxied-container", |launch| {
        launch
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())
            .env(
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                path.display().to_string(),
            )
    });
    let sent = sent.await?;
    assert!(!sent.contains(&token[..40]), "the proxy has the token");
    assert!(
        !sent.contains("/credentials/"),
        "the proxy was asked for credentials"
    );
    Ok(())
}

async fn instance_metadata_takes_no_proxy(world: Arc<World>) -> Outcome {
    let url = format!("{}/metadata/proxied", world.aws.url());
    let sent = mint_behind_a_proxy(&world, "proxied-metadata", |launch| {
        launch
            .env("AWS_EC2_METADATA_DISABLED", "false")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())
    });
    let sent = sent.await?;
    assert!(
        !sent.contains("/metadata/"),
        "the proxy was asked for metadata"
    );
    assert!(
        !sent.contains("x-aws-ec2-metadata-token"),
        "the proxy has the token"
    );
    Ok(())
}

/// What signs the call for a token.
#[derive(Clone, Copy)]
enum Signer {
    Keys,
    Role,
    WebIdentity,
}

/// The calls themselves fail: nothing is sent but the name of the host.
async fn endpoint_is_of_the_kind_that_environment_wants(world: Arc<World>) -> Outcome {
    const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
    const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";
    let arn = "arn:aws:iam::123456789012:role/kind";
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "rules": [{ "assumeRole": { "roleArn": arn } }],
    })
    .to_string();
    let token = file(&world, "kind-token", &web_identity("kind"));
    let cases: [(Signer, &[&str], &str); 7] = [
        (Signer::Keys, &[], "api.ecr.us-east-1.amazonaws.com"),
        (
            Signer::Keys,
            &[FIPS],
            "api.ecr-fips.us-east-1.amazonaws.com",
        ),
        (Signer::Keys, &[DUAL_STACK], "ecr.us-east-1.api.aws"),
        (
            Signer::Keys,
            &[FIPS, DUAL_STACK],
            "ecr-fips.us-east-1.api.aws",
        ),
        (Signer::Role, &[FIPS], "sts-fips.us-east-1.amazonaws.com"),
        (
            Signer::WebIdentity,
            &[FIPS],
            "sts-fips.us-east-1.amazonaws.com",
        ),
        (Signer::WebIdentity, &[DUAL_STACK], "sts.us-east-1.api.aws"),
    ];
    let namespace = Namespace::new(&world).await;
    for (number, (signer, variables, host)) in cases.into_iter().enumerate() {
        let proxy = Recorder::start(world.aws.url()).await?;
        let launch = world.replica(&format!("kind-{number}"));
        let launch = match signer {
            Signer::Keys => launch,
            Signer::Role => launch.config(&config),
            Signer::WebIdentity => without_keys(launch)
                .env("AWS_ROLE_ARN", arn)
                .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        };
        let mut launch = launch
            .without_env("AWS_ENDPOINT_URL")
            // The Kubernetes client ends the process for `HTTPS_PROXY`.
            .env("ALL_PROXY", proxy.url())
            .env("NO_PROXY", "none.example.com");
        for name in variables {
            launch = launch.env(name, "true");
        }
        let replica = launch.start();
        replica.ready().await;
        ask(&replica, &namespace, "us-east-1").await;
        let wanted = format!("CONNECT {host}:443 ");
        eventually(&wanted, LIMIT, || async {
            proxy.sent().contains(&wanted).then_some(())
        })
        .await;
    }
    Ok(())
}
