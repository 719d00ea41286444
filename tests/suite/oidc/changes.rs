//! Changes of the API server's issuer and of its key, while replicas hold older tokens.

use std::fs;
use std::sync::Arc;

use aws_stand_in::issuer_host::IssuerHost;
use ecr_pull_secrets_core::cause::Cause;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::faults::{assert_says, assert_warns, assert_works};
use super::site::{INTERNAL, Site, flags, publish, token, write};
use crate::frame::trials;
use crate::harness::namespace::Namespace;
use crate::harness::{Outcome, kubeconfig};

trials!(
    first_issuer_is_the_one_that_aws_sees,
    replaced_key_is_named_until_it_is_published,
    dropped_issuer_is_named_by_api_server_and_aws,
);

async fn first_issuer_is_the_one_that_aws_sees(site: Arc<Site>) -> Outcome {
    let setup = site.set_up("456789012345").await;
    site.restart_api_server(&flags(&site.host, &[INTERNAL, &site.host.url()]));
    let (launch, file) = setup.launch("wrong-order").await;
    let replica = launch.start();
    replica.ready().await;
    let cause = Cause::AwsOidcIssuerPrivate;
    assert_warns(&Namespace::new(&site).await, &replica, cause).await;
    assert_says(&replica, cause, &format!("in your account for {INTERNAL}"));

    site.restart_api_server(&flags(&site.host, &[&site.host.url(), INTERNAL]));
    // The kubelet has not replaced the token yet.
    assert_warns(&Namespace::new(&site).await, &replica, cause).await;
    write(&file, &token(&site.cluster).await);
    assert_works(&site, &replica).await;
    Ok(())
}

async fn replaced_key_is_named_until_it_is_published(site: Arc<Site>) -> Outcome {
    let setup = site.set_up("567890123456").await;
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let path = site.directory().join("signing.key");
    fs::write(&path, key.serialize_pem())?;
    let old = site.directory().join("cluster/pki/service-account.key");
    let keys = [
        format!("--service-account-signing-key-file={}", path.display()),
        format!("--service-account-key-file={}", path.display()),
        format!("--service-account-key-file={}", old.display()),
    ];
    let issuers = flags(&site.host, &[&site.host.url(), INTERNAL]);
    site.restart_api_server(&[issuers, keys.to_vec()].concat());
    let (launch, _) = setup.launch("replaced-key").await;
    let replica = launch.start();
    replica.ready().await;
    let cause = Cause::AwsOidcKeysMissing;
    assert_warns(&Namespace::new(&site).await, &replica, cause).await;
    assert_says(&replica, cause, "Couldn't retrieve verification key");
    site.publish();
    assert_works(&site, &replica).await;
    Ok(())
}

/// The old issuer is neither a further one of the API server nor known to AWS any more.
async fn dropped_issuer_is_named_by_api_server_and_aws(site: Arc<Site>) -> Outcome {
    let setup = site.set_up("678901234567").await;
    let (launch, _) = setup.launch("dropped").await;
    let replica = launch.start();
    replica.ready().await;
    // The replica knows them before the change: it can read none after.
    let namespaces = [Namespace::new(&site).await, Namespace::new(&site).await];
    assert_works(&site, &replica).await;

    let next = IssuerHost::start().await?;
    site.restart_api_server(&flags(&next, &[&next.url()]));
    assert_warns(&namespaces[0], &replica, Cause::ApiTokenRefused).await;
    setup.forget().await;
    let cause = Cause::AwsOidcProviderMissing;
    assert_warns(&namespaces[1], &replica, cause).await;
    assert_says(&replica, cause, &site.host.url());
    replica.stop();

    // The operator sets up the new issuer, and restarts the pods.
    publish(&site, &next);
    setup.know_of(&next).await;
    kubeconfig::write(&site.cluster, &site.kubeconfig).await;
    let (launch, _) = setup.launch("restarted").await;
    let replica = launch.start();
    replica.ready().await;
    assert_works(&site, &replica).await;
    Ok(())
}
