//! The rendered chart, without a cluster.

use std::process::Command;
use std::sync::Arc;

use ecr_pull_secrets_core::token::shards::NAMES;

use crate::frame::trials;
use crate::harness::tools::{root, run, tool};
use crate::harness::{Outcome, World};

trials!(
    defaults_fail_nowhere,
    role_mounts_a_token_for_sts,
    unknown_value_is_refused_by_name,
    self_signed_mode_grants_rights_over_its_certificate,
    rights_and_guard_name_all_shards_of_store,
    ca_bundle_is_allowed_only_for_own_certificate,
);

fn template(values: &[&str]) -> Command {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", "ecr-pull-secrets", "-n", "ecr-pull-secrets"]);
    helm.arg(root().join("manifests/helm"));
    for value in values {
        helm.args(["--set", value]);
    }
    helm
}

async fn defaults_fail_nowhere(_world: Arc<World>) -> Outcome {
    let rendered = run(&mut template(&[]));
    assert_eq!(
        rendered,
        run(&mut template(&[])),
        "a rendered value is generated"
    );
    for part in [
        "https-listen=[::]:10250",
        "kind: PodDisruptionBudget",
        "maxUnavailable: 0",
        "replicas: 2",
        "readOnlyRootFilesystem: true",
        "seccompProfile: {type: RuntimeDefault}",
    ] {
        assert!(rendered.contains(part), "{part}");
    }
    for part in [
        "priorityClassName",
        "kind: ServiceMonitor",
        "kind: NetworkPolicy",
        "helm.sh/hook",
        "caBundle: ",
    ] {
        assert!(!rendered.contains(part), "{part}");
    }
    Ok(())
}

async fn role_mounts_a_token_for_sts(_world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::123456789012:role/pull";
    let rendered = run(&mut template(&[&format!("aws.roleArn={arn}")]));
    let audience = "serviceAccountToken: {path: token, audience: sts.amazonaws.com";
    for part in [audience, arn, "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        assert!(rendered.contains(part), "{part}");
    }
    assert!(!rendered.contains("mountPath: /var/run/secrets/aws,"));
    Ok(())
}

async fn self_signed_mode_grants_rights_over_its_certificate(_world: Arc<World>) -> Outcome {
    let rendered = |source: &str| run(&mut template(&[&format!("certificate.source={source}")]));
    let rights = [
        "resourceNames: [\"ecr-pull-secrets-tls\"]",
        "verbs: [get, list, watch, patch]",
        "request.namespace == 'ecr-pull-secrets' && variables.it.metadata.name == 'ecr-pull-secrets-tls'",
        "'ca.key'",
    ];
    let files = ["--certificate-dir=", "secretName: ecr-pull-secrets-tls"];
    let own = rendered("selfSigned");
    assert_eq!(own, run(&mut template(&[])), "it is the default");
    for part in rights {
        assert!(own.contains(part), "{part}");
    }
    for part in files {
        assert!(!own.contains(part), "{part}");
    }
    for source in ["secret", "certManager"] {
        let others = rendered(source);
        for part in rights {
            assert!(!others.contains(part), "{source}: {part}");
        }
        for part in files {
            assert!(others.contains(part), "{source}: {part}");
        }
        let is_injected = others.contains("cert-manager.io/inject-ca-from");
        assert_eq!(is_injected, source == "certManager");
    }
    Ok(())
}

async fn rights_and_guard_name_all_shards_of_store(_world: Arc<World>) -> Outcome {
    let rendered = run(&mut template(&[]));
    let rights: Vec<String> = NAMES.iter().map(|name| format!("  - {name}\n")).collect();
    assert!(rendered.contains(&format!("  resourceNames:\n{}  verbs:", rights.concat())));
    let guard = format!("metadata.name in ['{}']", NAMES.join("', '"));
    assert!(rendered.contains(&guard), "{guard}");
    for name in NAMES {
        let refused = template(&[&format!("config.secret.name={name}")]).output()?;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            text.contains("the name of one of our own Secrets"),
            "{text}"
        );
    }
    Ok(())
}

async fn ca_bundle_is_allowed_only_for_own_certificate(_world: Arc<World>) -> Outcome {
    let set = |source: &str| {
        let source = format!("certificate.source={source}");
        template(&[&source, "webhook.caBundle=Q0E="]).output()
    };
    let rendered = set("secret")?;
    assert!(String::from_utf8_lossy(&rendered.stdout).contains("caBundle: Q0E="));
    for source in ["selfSigned", "certManager"] {
        let refused = set(source)?;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains("webhook.caBundle"),
            "{text}"
        );
    }
    Ok(())
}

async fn unknown_value_is_refused_by_name(_world: Arc<World>) -> Outcome {
    for value in ["replica=3", "aws.rolArn=x", "webhook.failurePolicy=Maybe"] {
        let refused = template(&[value]).output()?;
        let name = value.split(['.', '=']).next().expect("a name");
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{value}");
        assert!(text.contains(name), "{value}: {text}");
    }
    Ok(())
}
