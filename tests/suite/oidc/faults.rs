//! Mistakes in AWS, each with its own cause. One replica meets all of them, and works without a restart when they are
//! corrected.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;

use super::site::{AUDIENCE, OUR_SUBJECT, Setup, Site, token, write};
use crate::frame::trials;
use crate::harness::kubeconfig;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::{Outcome, review};
use crate::leaks::{ask, log};

trials!(
    each_mistake_in_aws_has_its_cause,
    slow_issuer_delays_the_token_alone,
);

/// A mistake on the way to AWS.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    NoProvider,
    NoDocuments,
    OtherAudience,
    /// The replica sends its token for the API server.
    OtherToken,
    OtherSubject,
}

impl Mistake {
    const ALL: [Self; 5] = [
        Self::NoProvider,
        Self::NoDocuments,
        Self::OtherAudience,
        Self::OtherToken,
        Self::OtherSubject,
    ];

    /// The cause, and what the log quotes of STS.
    fn cause(self) -> (Cause, &'static str) {
        match self {
            Self::NoProvider => (
                Cause::AwsOidcProviderMissing,
                "No OpenIDConnect provider found in your account for https://127.0.0.1:",
            ),
            Self::NoDocuments => (
                Cause::AwsOidcKeysMissing,
                "Couldn't retrieve verification key from your identity provider",
            ),
            Self::OtherAudience | Self::OtherToken => {
                (Cause::AwsOidcAudienceRefused, "Incorrect token audience")
            }
            Self::OtherSubject => (
                Cause::AwsWebIdentityRefused,
                "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
            ),
        }
    }

    async fn make(self, site: &Site, setup: &Setup<'_>, file: &Path) {
        match self {
            Self::NoProvider => setup.forget().await,
            Self::NoDocuments => {
                site.host.withdraw();
                // STS does not know the keys yet.
                setup.know(AUDIENCE).await;
            }
            Self::OtherAudience => setup.know("https://kubernetes.default.svc").await,
            Self::OtherToken => {
                let token = kubeconfig::token(&site.cluster, &[], 600).await;
                write(file, &token);
            }
            Self::OtherSubject => setup.trust("system:serviceaccount:other:other").await,
        }
    }

    async fn correct(self, site: &Site, setup: &Setup<'_>, file: &Path) {
        match self {
            Self::NoProvider | Self::OtherAudience => setup.know(AUDIENCE).await,
            Self::NoDocuments => site.publish(),
            Self::OtherToken => write(file, &token(&site.cluster).await),
            Self::OtherSubject => setup.trust(OUR_SUBJECT).await,
        }
    }
}

async fn each_mistake_in_aws_has_its_cause(site: Arc<Site>) -> Outcome {
    let setup = site.set_up("210987654321").await;
    let (launch, file) = setup.launch("mistaken").await;
    let replica = launch.start();
    replica.ready().await;
    for mistake in Mistake::ALL {
        mistake.make(&site, &setup, &file).await;
        let (cause, quoted) = mistake.cause();
        assert_warns(&Namespace::new(&site).await, &replica, cause).await;
        assert_says(&replica, cause, quoted);
        mistake.correct(&site, &setup, &file).await;
        assert_works(&site, &replica).await;
    }
    Ok(())
}

/// Fails unless a pod of a namespace that needs a new token gets the warning of this cause.
pub async fn assert_warns(namespace: &Namespace, replica: &Replica, cause: Cause) {
    let answer = ask(replica, namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), cause.warning());
}

/// Fails unless a pod with an image of a new region gets a Secret, and no warning.
pub async fn assert_works(site: &Site, replica: &Replica) {
    let namespace = Namespace::new(site).await;
    let answer = ask(replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    namespace.assert_opens().await;
}

/// Fails unless a log line has the cause and a text.
pub fn assert_says(replica: &Replica, cause: Cause, quoted: &str) {
    let (_, text) = log(replica);
    let is_said = |line: &str| line.contains(cause.name()) && line.contains(quoted);
    assert!(text.lines().any(is_said), "no line with {quoted}");
}

/// STS needs 13 s, as long as it has been seen to need for keys that it does not know.
async fn slow_issuer_delays_the_token_alone(site: Arc<Site>) -> Outcome {
    let setup = site.set_up("345678901234").await;
    let (launch, _) = setup.launch("slow-issuer").await;
    let replica = launch.start();
    replica.ready().await;
    // STS gives up two requests after 5 s each.
    let answered_after = [60, 60, 3].map(Duration::from_secs);
    site.host.delay(answered_after);
    let requests = site.host.requests();
    let namespace = Namespace::new(&site).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), Cause::AwsTimeout.warning());
    namespace.assert_opens().await;
    assert!(site.host.requests() >= requests + 4);
    let (_, text) = log(&replica);
    assert!(!text.contains("cannot mint a token"));
    assert_eq!(setup.calls().await, (1, 1), "one call is enough");
    Ok(())
}
