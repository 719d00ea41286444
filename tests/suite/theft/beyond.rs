//! Attempts on everything else: the guards themselves, identities, workloads, rights.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use super::request::{
    EVENTS, LEASE, REGISTRATION, REST, Request, Row, SECRETS, Verdict, apply, delete, get,
    json_patch, merge_patch, post, strategic_patch,
};
use super::scene::Scene;
use super::secrets;
use crate::harness::world::OURS;

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Controller account that may grant itself any right.
const CONTROLLER: &str = "clusterrole-aggregation-controller";

/// Attempts to disable the guards. No policy can protect policies: only RBAC does.
pub fn guards() -> Vec<Row> {
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    let mut rows = vec![
        get("list all guards", &policies).no_right(Verdict::Allowed),
        get("list all bindings", &bindings).no_right(Verdict::Allowed),
        get(
            "read a guard that is not installed",
            &format!("{policies}/{REST}"),
        )
        .no_right(Verdict::Refused(404, "not found")),
        post("a policy of our own", &policies, policy()).no_right(Verdict::Allowed),
    ];
    for guard in [SECRETS, REGISTRATION, EVENTS, LEASE] {
        let policy = format!("{policies}/{guard}");
        let binding = format!("{bindings}/{guard}");
        let ignore = json!({ "spec": { "failurePolicy": "Ignore" } });
        let warn = json!({ "spec": { "validationActions": ["Warn"] } });
        rows.extend([
            get(&format!("read {guard}"), &policy).allowed(),
            get(&format!("read the binding of {guard}"), &binding).allowed(),
            merge_patch(&format!("weaken {guard}"), &policy, ignore).no_right(Verdict::Allowed),
            merge_patch(&format!("bind {guard} to Warn"), &binding, warn)
                .no_right(Verdict::Allowed),
            delete(&format!("delete {guard}"), &policy).no_right(Verdict::Allowed),
            delete(&format!("delete the binding of {guard}"), &binding).no_right(Verdict::Allowed),
        ]);
    }
    rows
}

/// Attempts to act as another user.
pub fn identities(scene: &Scene) -> Vec<Row> {
    let victim = &scene.victim;
    let token = |attempt: &str, namespace: &str, account: &str| {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {},
        });
        post(attempt, &path, body).further_right(Verdict::Allowed)
    };
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let masters = Verdict::Refused(403, "system:masters");
    vec![
        token("token of a ServiceAccount", victim, "rich"),
        token("token of a controller", "kube-system", CONTROLLER),
        token("token of our own account", OURS, OURS),
        get("impersonate an administrator", "/api/v1/secrets")
            .with_headers(&[
                ("impersonate-user", "system:admin"),
                ("impersonate-group", "system:masters"),
            ])
            .no_right(Verdict::Allowed),
        get("impersonate a controller", &secrets::path(victim, "gold"))
            .with_headers(&[(
                "impersonate-user",
                "system:serviceaccount:kube-system:namespace-controller",
            )])
            .no_right(Verdict::Allowed),
        post(
            "certificate of an administrator",
            requests,
            signing(Some("system:masters")),
        )
        .no_right(masters),
        post("certificate of a user", requests, signing(None)).further_right(Verdict::Allowed),
        post(
            "TokenReview",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": { "token": "x" },
            }),
        )
        .no_right(Verdict::Allowed),
        post(
            "SubjectAccessReview",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": "x",
                    "nonResourceAttributes": { "path": "/", "verb": "get" },
                },
            }),
        )
        .no_right(Verdict::Allowed),
        post(
            "ask what we may do ourselves",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectRulesReview",
                "spec": { "namespace": "default" },
            }),
        )
        .allowed(),
        post(
            "ask for our own user",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "SelfSubjectReview",
            }),
        )
        .allowed(),
    ]
}

/// Attempts to have a workload read Secrets for us.
pub fn workloads(scene: &Scene) -> Vec<Row> {
    let namespace = format!("/api/v1/namespaces/{}", scene.victim);
    let pods = format!("{namespace}/pods");
    let pod = format!("{pods}/p");
    let container = json!({
        "name": "c",
        "image": "x",
        "envFrom": [{ "secretRef": { "name": "gold" } }],
    });
    let spec = json!({ "containers": [container] });
    let labels = json!({ "app": "d" });
    let ephemeral = json!({ "spec": { "ephemeralContainers": [{ "name": "e", "image": "x" }] } });
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    vec![
        post(
            "a pod with a Secret in its environment",
            &pods,
            object("v1", "Pod", "q", json!({ "spec": spec })),
        )
        .further_right(Verdict::Allowed),
        post(
            "a Deployment",
            &format!("/apis/apps/v1/namespaces/{}/deployments", scene.victim),
            object(
                "apps/v1",
                "Deployment",
                "d",
                json!({ "spec": {
                    "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": spec },
                } }),
            ),
        )
        .further_right(Verdict::Allowed),
        get("read pods", "/api/v1/pods").allowed(),
        get("read a pod's log", &format!("{pod}/log")).no_right(Verdict::Allowed),
        Request::new(
            Method::POST,
            "exec",
            &format!("{pod}/exec?command=true&stdout=true"),
        )
        // A connection has no dry run. No attempt here reaches a kubelet.
        .for_real()
        .further_right(Verdict::Refused(400, "does not have a host assigned")),
        strategic_patch(
            "ephemeral container",
            &format!("{pod}/ephemeralcontainers"),
            ephemeral,
        )
        .further_right(Verdict::Allowed),
        strategic_patch("patch a pod", &pod, label.clone()).further_right(Verdict::Allowed),
        delete("delete a pod", &pod).further_right(Verdict::Allowed),
        delete("delete all pods", &pods).further_right(Verdict::Allowed),
        post(
            "evict a pod",
            &format!("{pod}/eviction"),
            object("policy/v1", "Eviction", "p", json!({})),
        )
        .further_right(Verdict::Allowed),
        strategic_patch(
            "patch our own Deployment",
            &format!("/apis/apps/v1/namespaces/{OURS}/deployments/{OURS}"),
            label,
        )
        .further_right(Verdict::Allowed),
        get("proxy to a node", "/api/v1/nodes/n/proxy/pods")
            .further_right(Verdict::Refused(404, "nodes \"n\" not found")),
        // No such service: the client would retry for minutes where one has no endpoints.
        get(
            "proxy to a service",
            &format!("/api/v1/namespaces/{OURS}/services/https:n:https/proxy/"),
        )
        .further_right(Verdict::Refused(404, "services \"n\" not found")),
        post(
            "a CustomResourceDefinition",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            custom_resource_definition(),
        )
        .further_right(Verdict::Allowed),
    ]
}

/// Attempts to get more rights, or to change shared objects.
pub fn rights(scene: &Scene) -> Vec<Row> {
    let namespace = format!("/api/v1/namespaces/{}", scene.victim);
    let rbac = format!("{RBAC}/namespaces/{}", scene.victim);
    let us = json!([{ "kind": "ServiceAccount", "name": OURS, "namespace": OURS }]);
    let bind = |kind: &str, role: &str| {
        let role = json!({
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role,
        });
        let fields = json!({ "roleRef": role, "subjects": us });
        object("rbac.authorization.k8s.io/v1", kind, "r", fields)
    };
    let read = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] });
    let role = object(
        "rbac.authorization.k8s.io/v1",
        "Role",
        "r",
        json!({ "rules": [read] }),
    );
    let all = json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] });
    let widen = json!([{ "op": "add", "path": "/rules/-", "value": all }]);
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    let rich = format!("{namespace}/serviceaccounts/rich");
    let config_map = object("v1", "ConfigMap", "x", json!({}));
    vec![
        post("a Role", &format!("{rbac}/roles"), role).further_right(Verdict::Allowed),
        post(
            "a RoleBinding",
            &format!("{rbac}/rolebindings"),
            bind("RoleBinding", "view"),
        )
        .further_right(Verdict::Allowed),
        post(
            "a ClusterRoleBinding to cluster-admin",
            &format!("{RBAC}/clusterrolebindings"),
            bind("ClusterRoleBinding", "cluster-admin"),
        )
        .further_right(Verdict::Allowed),
        json_patch(
            "widen our own ClusterRole",
            &format!("{RBAC}/clusterroles/{OURS}"),
            widen,
        )
        .further_right(Verdict::Allowed),
        merge_patch("label a namespace", &namespace, label).further_right(Verdict::Allowed),
        post(
            "create a namespace",
            "/api/v1/namespaces",
            object("v1", "Namespace", "evil", json!({})),
        )
        .further_right(Verdict::Allowed),
        strategic_patch(
            "patch a ServiceAccount",
            &rich,
            json!({ "imagePullSecrets": [{ "name": "x" }] }),
        )
        .further_right(Verdict::Allowed),
        get("read a ServiceAccount", &rich).allowed(),
        post(
            "create a ConfigMap",
            &format!("{namespace}/configmaps"),
            config_map.clone(),
        )
        .further_right(Verdict::Allowed),
        apply(
            "apply a ConfigMap",
            &format!("{namespace}/configmaps/x"),
            config_map,
        )
        .further_right(Verdict::Allowed),
        strategic_patch(
            "patch our own ConfigMap",
            &format!("/api/v1/namespaces/{OURS}/configmaps/{OURS}"),
            json!({ "data": { "config.yaml": "" } }),
        )
        .further_right(Verdict::Allowed),
        get("read a ConfigMap", &format!("{namespace}/configmaps/cm")).no_right(Verdict::Allowed),
        get("the API server's metrics", "/metrics").no_right(Verdict::Allowed),
    ]
}

fn object(api_version: &str, kind: &str, name: &str, mut fields: Value) -> Value {
    fields["apiVersion"] = json!(api_version);
    fields["kind"] = json!(kind);
    fields["metadata"] = json!({ "name": name });
    fields
}

/// A policy that makes every write fail, if it is bound.
fn policy() -> Value {
    let rule = json!({
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "resources": ["*/*"],
        "operations": ["*"],
    });
    let fields = json!({ "spec": {
        "matchConstraints": { "resourceRules": [rule] },
        "validations": [{ "expression": "false" }],
    } });
    object(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        "theft",
        fields,
    )
}

fn signing(organization: Option<&str>) -> Value {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "x");
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    let request = params.serialize_request(&KeyPair::generate().unwrap());
    let fields = json!({ "spec": {
        "request": BASE64_STANDARD.encode(request.unwrap().pem().unwrap()),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    } });
    object(
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        "x",
        fields,
    )
}

fn custom_resource_definition() -> Value {
    let version = json!({
        "name": "v1",
        "served": true,
        "storage": true,
        "schema": { "openAPIV3Schema": { "type": "object" } },
    });
    let fields = json!({ "spec": {
        "group": "b.io",
        "scope": "Namespaced",
        "names": { "plural": "as", "kind": "A" },
        "versions": [version],
    } });
    object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "as.b.io",
        fields,
    )
}
