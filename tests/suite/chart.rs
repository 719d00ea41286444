//! The rendered chart, without a cluster.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::token::shards::NAMES;

use crate::frame::trials;
use crate::harness::tools::{root, run, tool};
use crate::harness::{Outcome, World};

trials!(
    defaults_fail_nowhere,
    registration_is_exempt_from_the_enforcer_of_aks,
    role_mounts_a_token_for_sts,
    unknown_value_is_refused_by_name,
    self_signed_mode_grants_rights_over_its_certificate,
    rights_and_guard_name_all_shards_of_store,
    ca_bundle_is_allowed_only_for_own_certificate,
    excluded_namespaces_reach_registration_and_program,
    guards_depend_on_values,
    jobs_come_on_demand,
    installation_without_replicas_has_fewer_rights,
    extra_parts_reach_their_pods,
    every_granted_secret_is_guarded,
    adoption_guard_follows_the_configuration,
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

async fn registration_is_exempt_from_the_enforcer_of_aks(_world: Arc<World>) -> Outcome {
    let rendered = run(&mut template(&[]));
    let (_, registration) = rendered
        .split_once("kind: MutatingWebhookConfiguration\n")
        .expect("a registration");
    let (metadata, _) = registration.split_once("\nwebhooks:").expect("a webhook");
    let label = "admissions.enforcer/disabled: \"true\"";
    assert!(metadata.contains(label), "{metadata}");
    Ok(())
}

async fn role_mounts_a_token_for_sts(_world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::123456789012:role/pull";
    let role = format!("aws.roleArn={arn}");
    let token = |seconds| {
        let source = "serviceAccountToken: {path: token, audience: sts.amazonaws.com";
        format!("- {source}, expirationSeconds: {seconds}}}\n")
    };
    let rendered = run(&mut template(&[&role]));
    let directory = "/var/run/secrets/sts.amazonaws.com/serviceaccount";
    for part in [
        token(3600),
        format!("{{name: AWS_ROLE_ARN, value: \"{arn}\"}}\n"),
        format!("{{name: AWS_WEB_IDENTITY_TOKEN_FILE, value: {directory}/token}}\n"),
        "{name: AWS_ROLE_SESSION_NAME, value: ecr-pull-secrets}\n".to_owned(),
        format!("{{name: aws-token, mountPath: {directory}, readOnly: true}}\n"),
        "name: aws-token\n        projected:\n          defaultMode: 0440\n".to_owned(),
    ] {
        assert!(rendered.contains(&part), "{part}");
    }
    assert!(!rendered.contains("mountPath: /var/run/secrets/aws,"));
    // Those that the API server grants, and that STS accepts.
    for (seconds, is_valid) in [(599, false), (600, true), (86_400, true), (86_401, false)] {
        let lifetime = format!("aws.tokenSeconds={seconds}");
        let rendered = template(&[&role, &lifetime]).output()?;
        assert_eq!(rendered.status.success(), is_valid, "{seconds}");
        let text = String::from_utf8_lossy(&rendered.stdout).into_owned();
        assert_eq!(text.contains(&token(seconds)), is_valid, "{seconds}");
    }
    let without = run(&mut template(&["aws.tokenSeconds=600"]));
    assert!(!without.contains("aws-token") && !without.contains("AWS_ROLE_ARN"));
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
    let rights = format!("  resourceNames: [{}]\n  verbs:", NAMES.join(", "));
    assert!(rendered.contains(&rights), "{rights}");
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

async fn excluded_namespaces_reach_registration_and_program(_world: Arc<World>) -> Outcome {
    let selector = |names: &str| format!("values: [\"ecr-pull-secrets\"{names}]\n");
    let rendered = run(&mut template(&[]));
    let default = ",\"kube-system\",\"kube-public\",\"kube-node-lease\"";
    assert!(rendered.contains(&selector(default)));
    assert!(
        !rendered.contains("excludedNamespaces"),
        "the default is the program's"
    );
    let new = "config.scope.excludedNamespaces={kube-system,legacy}";
    let old = "webhook.excludedNamespaces={kube-system,legacy}";
    for value in [new, old] {
        let rendered = run(&mut template(&[value]));
        assert!(
            rendered.contains(&selector(",\"kube-system\",\"legacy\"")),
            "{value}"
        );
        // The program reads the same list.
        let (_, config) = rendered.split_once("  config.yaml: |\n").expect("a file");
        let config = config.split("\n---").next().expect("a file");
        let config = config
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n");
        let config = config.replace("\n    ", "\n");
        let config = Config::parse(config.trim_start())?.installed_in("ours");
        assert!(config.scope.excludes("legacy") && !config.scope.excludes("kube-public"));
    }
    let both = template(&[new, old]).output()?;
    let text = String::from_utf8_lossy(&both.stderr).into_owned();
    assert!(
        !both.status.success() && text.contains("remove the old value"),
        "{text}"
    );
    // A selector has no patterns, and a blank list may be a mistake.
    for value in ["{team-*}", "null"] {
        let value = format!("config.scope.excludedNamespaces={value}");
        assert!(!template(&[&value]).output()?.status.success(), "{value}");
    }
    Ok(())
}

async fn unknown_value_is_refused_by_name(_world: Arc<World>) -> Outcome {
    for value in [
        "replica=3",
        "aws.rolArn=x",
        "webhook.failurePolicy=Maybe",
        "config.publicEcr=false",
    ] {
        let refused = template(&[value]).output()?;
        let name = value.split(['.', '=']).next().expect("a name");
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{value}");
        assert!(text.contains(name), "{value}: {text}");
    }
    Ok(())
}

/// The parts of the chart that must agree about which guards there are.
async fn guards_depend_on_values(_world: Arc<World>) -> Outcome {
    let (pods, rest) = ("config.repair.recreatePods=true", "guard.rest=true");
    for values in [&[][..], &[pods], &[rest], &[pods, rest]] {
        let rendered = run(&mut template(values));
        for (name, is_chosen) in [
            ("secrets", true),
            ("registration", true),
            ("events", true),
            ("lease", true),
            ("pods", values.contains(&pods)),
            ("rest", values.contains(&rest)),
        ] {
            let name = format!("ecr-pull-secrets-guard-{name}");
            let count = |text: String| rendered.matches(&text).count();
            // Policy and binding, the binding's reference, and the right to check them.
            let named = (
                count(format!("\n  name: {name}\n")),
                count(format!("\n  policyName: {name}\n")),
                count(format!("\n  - {name}\n")),
            );
            let wanted = if is_chosen { (2, 1, 1) } else { (0, 0, 0) };
            assert_eq!(named, wanted, "{values:?}: {name}");
        }
        // The replicas report its absence.
        let flag = rendered.contains("- --guard-rest\n");
        assert_eq!(flag, values.contains(&rest), "{values:?}");
        let widest = rendered.contains("resources: [\"*/*\"]");
        assert_eq!(widest, values.contains(&rest), "{values:?}");
    }
    Ok(())
}

/// The objects of a rendering, as `Kind/name`.
fn objects(rendered: &str) -> BTreeSet<String> {
    let documents = rendered.split("\n---\n");
    let field = |document: &str, start: &str| {
        let mut lines = document.lines();
        lines.find_map(|line| Some(line.strip_prefix(start)?.to_owned()))
    };
    documents
        .filter_map(|document| {
            let kind = field(document, "kind: ")?;
            Some(format!("{kind}/{}", field(document, "  name: ")?))
        })
        .collect()
}

async fn jobs_come_on_demand(_world: Arc<World>) -> Outcome {
    let initial = |values: &[&str]| {
        let jobs = objects(&run(&mut template(values)));
        jobs.into_iter()
            .find(|object| object.starts_with("Job/ecr-pull-secrets-sync-"))
    };
    let cron_job = "CronJob/ecr-pull-secrets-sync";
    assert_eq!(initial(&[]), None);
    assert!(!objects(&run(&mut template(&[]))).contains(cron_job));
    let on = ["sync.cronJob.enabled=true", "sync.initialJob=true"];
    let rendered = run(&mut template(&on));
    assert!(objects(&rendered).contains(cron_job));
    for part in [
        "schedule: \"0 */6 * * *\"",
        "successfulJobsHistoryLimit: 3",
        "failedJobsHistoryLimit: 3",
    ] {
        assert!(rendered.contains(part), "{part}");
    }
    // The Service, the Deployment and the budget select by this label. The two jobs have it, and not their pods.
    let labelled = |rendered: &str, name: &str| {
        let label = format!("app.kubernetes.io/name: {name}");
        rendered
            .lines()
            .filter(|line| line.trim_start() == label)
            .count()
    };
    let before = labelled(&run(&mut template(&[])), "ecr-pull-secrets");
    assert_eq!(labelled(&rendered, "ecr-pull-secrets"), before + 2);
    assert_eq!(labelled(&rendered, "ecr-pull-secrets-sync"), 2);
    // A Job cannot be changed: another content has another name.
    let first = initial(&on[1..]).expect("a Job");
    assert_eq!(initial(&on).as_ref(), Some(&first));
    for change in ["config.rotation.maxAge=1h", "image.tag=next"] {
        assert_ne!(initial(&[on[1], change]).expect("a Job"), first);
    }
    Ok(())
}

async fn installation_without_replicas_has_fewer_rights(_world: Arc<World>) -> Outcome {
    let values = ["config.injection=none", "sync.cronJob.enabled=true"];
    let with_replicas = run(&mut template(&values));
    let without = run(&mut template(&[values[0], values[1], "replicas=0"]));
    for (kind, of_webhook) in [
        ("MutatingWebhookConfiguration/zz-ecr-pull-secrets", true),
        ("Deployment/ecr-pull-secrets", false),
        ("Service/ecr-pull-secrets", false),
        ("PodDisruptionBudget/ecr-pull-secrets", false),
    ] {
        let has = |rendered: &str| objects(rendered).contains(kind);
        assert!(has(&run(&mut template(&[]))), "{kind}");
        assert_eq!(has(&with_replicas), !of_webhook, "{kind}");
        assert!(!has(&without), "{kind}");
    }
    for part in [
        "https-listen",
        "mutatingwebhookconfigurations]\n  resourceNames: [zz-ecr-pull-secrets]\n  verbs",
    ] {
        assert!(!with_replicas.contains(part), "{part}");
    }
    let rights = |rendered: &str| {
        let verbs = rendered
            .lines()
            .filter(|line| line.starts_with("  verbs: "));
        verbs.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    for verb in ["watch", "delete"] {
        assert!(rights(&with_replicas).contains(verb), "{verb}");
        assert!(!rights(&without).contains(verb), "{verb}");
    }
    for resource in [
        "resources: [leases]\n  resourceNames: [ecr",
        "resources: [serviceaccounts]",
    ] {
        assert!(with_replicas.contains(resource), "{resource}");
        assert!(!without.contains(resource), "{resource}");
    }
    let refused = template(&["replicas=0"]).output()?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("set config.injection to none"), "{text}");
    Ok(())
}

async fn extra_parts_reach_their_pods(_world: Arc<World>) -> Outcome {
    let rendered = run(&mut template(&[
        "sync.cronJob.enabled=true",
        "sync.initialJob=true",
        "extraContainers[0].name=extra-container",
        "extraInitContainers[0].name=extra-init",
        "extraVolumes[0].name=extra-volume",
        "extraVolumeMounts[0].name=extra-mount",
    ]));
    for (name, pods) in [
        ("extra-container", 1),
        ("extra-init", 3),
        ("extra-volume", 3),
        ("extra-mount", 3),
    ] {
        let named = rendered
            .lines()
            .filter(|line| line.trim_start() == format!("- name: {name}"));
        assert_eq!(named.count(), pods, "{name}");
    }
    Ok(())
}

/// A name that RBAC grants and the guard does not match would be written without limits.
async fn every_granted_secret_is_guarded(_world: Arc<World>) -> Outcome {
    for values in [
        &[][..],
        &["certificate.source=secret"],
        &["config.secret.name=other"],
    ] {
        let rendered = run(&mut template(values));
        let granted = names_after(&rendered, "\n  resources: [secrets]");
        let guarded = names_after(
            &rendered,
            "      operations: [\"*\"]\n      # The names that RBAC grants.",
        );
        assert!(granted.len() >= 2, "{granted:?}");
        assert_eq!(granted, guarded, "{values:?}");
    }
    Ok(())
}

/// The names in the list `resourceNames` that follows each occurrence of a text.
fn names_after(rendered: &str, text: &str) -> BTreeSet<String> {
    let text = format!("{text}\n");
    let lists = rendered.match_indices(&text).map(|(at, text)| {
        let list = rendered[at + text.len()..].trim_start();
        let list = list.strip_prefix("resourceNames: [");
        let list = list.expect("a list of names").split_once(']');
        list.expect("its end").0
    });
    lists
        .flat_map(|list| list.split(','))
        .map(|name| name.trim().trim_matches('"').to_owned())
        .collect()
}

async fn adoption_guard_follows_the_configuration(_world: Arc<World>) -> Outcome {
    let (by_wish, by_key) = (
        "'ecr-pull-secrets.dev/adopt' in variables.oldAnnotations",
        "variables.oldData.all(k, k == '.dockerconfigjson')",
    );
    let default = run(&mut template(&[]));
    for (adopt, has_wish, has_key) in [
        ("never", false, false),
        ("annotated", true, true),
        ("ecr-only", false, true),
        ("all", false, true),
    ] {
        let rendered = run(&mut template(&[&format!("config.secret.adopt={adopt}")]));
        assert_eq!(rendered.contains(by_wish), has_wish, "{adopt}");
        assert_eq!(rendered.contains(by_key), has_key, "{adopt}");
        let guard = |rendered: &str| {
            let (_, guard) = rendered
                .split_once("ecr-pull-secrets-guard-secrets\n")
                .expect("it");
            guard.split_once("\n---\n").expect("its end").0.to_owned()
        };
        if adopt == "ecr-only" {
            assert_eq!(guard(&rendered), guard(&default), "it is the default");
        }
    }
    let refused = template(&["config.secret.adopt=maybe"]).output()?;
    assert!(!refused.status.success());
    Ok(())
}
