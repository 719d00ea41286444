//! Why something did not work, in one vocabulary.
//!
//! Metric labels, Events, warnings of `kubectl`, log lines and the RUNBOOK share one [`Cause`]:
//! one name, one sentence, one remedy, one answer to "does a retry help?". The code that receives
//! an error of a library turns it into a cause at once; no later code matches on its text. A cause
//! carries no data: the registry or the namespace stands beside it, and a token stands nowhere.
//!
//! The sentence names an actor (replica, AWS, API server, namespace, another field manager) and
//! says what is the matter with it. The remedy is an imperative that can be typed or clicked.

use std::time::Duration;

/// How soon a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Trouble of AWS, the network or the API server, which may end in a second.
    Soon,
    /// A mistake that an operator or a tenant must correct first: a policy, a quota, a role.
    Slowly,
    /// No retry: a new pod, a new configuration or another object must come first.
    Never,
}

impl Retry {
    /// The first and the longest pause between two attempts; `None` for [`Retry::Never`].
    pub fn pauses(self) -> Option<(Duration, Duration)> {
        match self {
            Self::Soon => Some((Duration::from_millis(500), Duration::from_secs(15))),
            Self::Slowly => Some((Duration::from_secs(5), Duration::from_secs(120))),
            Self::Never => None,
        }
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $retry:ident, $sentence:literal, $remedy:literal;)+) => {
        /// A reason why a pod does not get its image, or why that is about to happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause { $($(#[$doc])* $variant,)+ }

        impl Cause {
            /// Every cause, in the order of the RUNBOOK.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in `snake_case`: metric label, log field and heading in the RUNBOOK.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The name in `CamelCase`: the reason of an Event.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What is the matter: lower case, without a full stop.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// What to do about it: an imperative, lower case, without a full stop.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }

            /// How soon a retry can help.
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)+ }
            }
        }
    };
}

causes! {
    /// No connection: DNS, routing, TLS.
    AwsUnreachable, "aws_unreachable", Soon,
        "the replica cannot connect to AWS",
        "check DNS, egress rules and proxy settings of the ecr-pull-secrets pods, and `endpoints` in the configuration";
    /// A connection without an answer within the time of one attempt.
    AwsTimeout, "aws_timeout", Soon,
        "AWS does not answer in time",
        "check security groups and routes from the ecr-pull-secrets pods to ECR and STS, then check health.aws.amazon.com";
    /// HTTP 429, or a throttling code.
    AwsThrottled, "aws_throttled", Soon,
        "AWS throttles the calls for a token",
        "find the frequent callers of GetAuthorizationToken, or of STS, in CloudTrail and slow them down, or request a higher quota";
    /// HTTP 5xx.
    AwsServerError, "aws_server_error", Soon,
        "AWS answers with a server error",
        "wait until AWS recovers; health.aws.amazon.com shows the state of AWS";
    /// HTTP 200 without a usable token.
    AwsAnswerUnusable, "aws_answer_unusable", Soon,
        "AWS answers without a usable token",
        "correct `endpoints` in the configuration, or the proxy settings of the ecr-pull-secrets pods";
    /// `AccessDeniedException`.
    AwsAccessDenied, "aws_access_denied", Slowly,
        "the AWS identity may not call ecr:GetAuthorizationToken",
        "attach the AWS policy AmazonEC2ContainerRegistryPullOnly to the principal that `detail` of the log line `cannot mint a token` names";
    /// No provider in the SDK's chain with credentials.
    AwsCredentialsMissing, "aws_credentials_missing", Slowly,
        "the replica finds no AWS credentials",
        "create the Secret ecr-pull-secrets-aws with AWS keys, or set `aws.roleArn` or `aws.imds` in the chart's values";
    /// A file or a pair of keys that the replica cannot use. AWS has not been asked.
    AwsCredentialsUnreadable, "aws_credentials_unreadable", Slowly,
        "the replica cannot read the AWS credentials",
        "correct the key or file that `detail` of the log line `cannot mint a token` names, usually in the Secret ecr-pull-secrets-aws";
    /// An environment variable of the SDK with a value that it cannot use. AWS has not been asked.
    AwsSettingsInvalid, "aws_settings_invalid", Slowly,
        "an AWS setting of the replica is invalid",
        "correct the environment variable that `detail` of the log line `cannot mint a token` names, in the chart's values or the Deployment";
    /// `UnrecognizedClientException`, `InvalidClientTokenId`.
    AwsCredentialsRefused, "aws_credentials_refused", Slowly,
        "AWS refuses the credentials of the replica",
        "check that the access key is active and belongs to the registry's partition, and that the AWS account has enabled the registry's region";
    /// `ExpiredTokenException`.
    AwsCredentialsExpired, "aws_credentials_expired", Soon,
        "the AWS session of the replica has expired",
        "write new session credentials into the Secret ecr-pull-secrets-aws, or set `aws.roleArn` in the chart's values";
    /// `InvalidSignatureException`, `SignatureDoesNotMatch`.
    AwsSignatureRefused, "aws_signature_refused", Slowly,
        "AWS refuses the signature of the replica's request",
        "check the secret access key for missing or extra characters, and the clock of the replica's node";
    /// A role of a rule, or of a profile, that STS does not let the replica assume.
    AwsRoleRefused, "aws_role_refused", Slowly,
        "AWS does not let the replica assume a role",
        "check the role's trust policy and external id, and allow the replica's AWS identity to call sts:AssumeRole on the role";
    /// A token of a ServiceAccount that STS does not exchange for the keys of a role.
    AwsWebIdentityRefused, "aws_web_identity_refused", Slowly,
        "AWS refuses the web identity of the replica",
        "name the ServiceAccount of ecr-pull-secrets in the role's trust policy, or correct what `detail` of the log line `cannot mint a token` says";
    /// `ExpiredTokenException` about that token.
    AwsWebIdentityExpired, "aws_web_identity_expired", Slowly,
        "the web identity token of the replica has expired",
        "check the kubelet and the clock of the replica's node, then restart the ecr-pull-secrets pods";
    /// The account of the role has no IAM OIDC provider for the token's issuer.
    AwsOidcProviderMissing, "aws_oidc_provider_missing", Slowly,
        "AWS knows no OIDC provider for the issuer of the replica's token",
        "create an IAM OIDC provider for the issuer that `detail` of the log line `cannot mint a token` names; if the cluster has another issuer by now, restart the ecr-pull-secrets pods";
    /// The same, where no provider could ever be: an issuer inside the cluster or a private network.
    AwsOidcIssuerPrivate, "aws_oidc_issuer_private", Slowly,
        "the issuer of the replica's token has no public name",
        "make the public URL of the issuer the first --service-account-issuer of the API server, then restart the ecr-pull-secrets pods";
    /// `IDPCommunicationError`.
    AwsOidcIssuerUnreachable, "aws_oidc_issuer_unreachable", Soon,
        "AWS cannot reach the OIDC issuer of the cluster",
        "correct DNS, firewall or certificate of the issuer, until a machine outside of your network can read its documents";
    /// The issuer's key set lacks the key that signed the token, or AWS cannot read it.
    AwsOidcKeysMissing, "aws_oidc_keys_missing", Slowly,
        "AWS finds no key for the replica's token at the OIDC issuer",
        "publish the output of `kubectl get --raw /openid/v1/jwks` at the `jwks_uri` of the issuer again, where AWS can read it within 5 seconds";
    /// The IAM OIDC provider does not list the token's audience.
    AwsOidcAudienceRefused, "aws_oidc_audience_refused", Slowly,
        "AWS does not accept the audience of the replica's token",
        "add sts.amazonaws.com to the audiences of the IAM OIDC provider";
    /// `RegionDisabledException`.
    AwsRegionDisabled, "aws_region_disabled", Slowly,
        "AWS STS is disabled in the region for the AWS account",
        "enable STS for the region in the account settings of IAM, or set `aws.region` in the chart's values to a region where it is enabled";
    /// Any other answer of AWS.
    AwsError, "aws_error", Slowly,
        "AWS answers the request for a token with an unknown error code",
        "look up the AWS error code that `detail` of the log line `cannot mint a token` quotes";
    /// A panic in the AWS SDK, or in our own code around it.
    MintPanicked, "mint_panicked", Slowly,
        "the replica panicked while it asked AWS for a token",
        "check the AWS keys and settings for odd characters, and report the `place` of the log line `a task panicked` as a bug";
    /// A denial by the first rule that matches, or by the lack of one.
    DeniedByRule, "denied_by_rule", Never,
        "the rules in the configuration deny a registry of the pod to this namespace",
        "allow the registry for the namespace in `rules` of the configuration, or use another registry";
    /// The limit of registries in one Secret.
    TooManyRegistries, "too_many_registries", Never,
        "the pull Secret already holds 100 registries",
        "delete the workloads whose registries are not needed, then the pull Secret: the leader re-creates it with the registries in use";
    /// The limit of new tokens for one namespace.
    TooManyTokens, "too_many_tokens", Slowly,
        "the namespace asked for too many new tokens (16 in 10 minutes or 128 in 12 hours)",
        "correct the regions in the image names of the namespace: each region needs its own token";
    /// The limit of tokens of the replica, or of one AWS identity.
    TokenLimitReached, "token_limit_reached", Slowly,
        "the replica has reached its limit of tokens",
        "remove unneeded roles from `rules` in the configuration and unneeded regions from the images: each role and region needs its own token";
    /// `kubernetes.io/enforce-mountable-secrets`: with the reference, the API server would refuse the pod.
    ServiceAccountRestricted, "service_account_restricted", Never,
        "the ServiceAccount allows only the pull Secrets that it lists",
        "add the pull Secret to the ServiceAccount's imagePullSecrets, or remove the annotation kubernetes.io/enforce-mountable-secrets from the ServiceAccount";
    /// A Secret with the pull Secret's name and another type.
    ForeignType, "foreign_type", Slowly,
        "a Secret of another type has the pull Secret's name",
        "delete that Secret if no workload needs it, or set another `secret.name` in the configuration";
    /// A dockerconfigjson Secret with the pull Secret's name and another owner.
    ForeignOwner, "foreign_owner", Slowly,
        "a Secret of another owner has the pull Secret's name",
        "annotate that Secret with ecr-pull-secrets.dev/adopt=true so that ecr-pull-secrets adopts it, or delete it";
    /// A foreign Secret that breaks the keyring of every pod that names it.
    ForeignMalformed, "foreign_malformed", Slowly,
        "a malformed Secret has the pull Secret's name",
        "delete that Secret or correct its docker config: a pod that names that Secret cannot pull any image";
    /// A Secret with `immutable: true`.
    ForeignImmutable, "foreign_immutable", Slowly,
        "an immutable Secret has the pull Secret's name",
        "delete that Secret: the leader re-creates it without `immutable: true`";
    /// 403 from a ResourceQuota.
    QuotaExceeded, "quota_exceeded", Slowly,
        "a ResourceQuota of the namespace forbids the pull Secret",
        "raise `secrets` or `count/secrets` in the ResourceQuota by one, or delete a Secret that no workload needs";
    /// 403 with cause `NamespaceTerminating`.
    NamespaceTerminating, "namespace_terminating", Never,
        "the namespace is being deleted",
        "do nothing: the pods end with their namespace";
    /// 404 for the namespace.
    NamespaceMissing, "namespace_missing", Never,
        "the namespace does not exist",
        "do nothing; if the metric of this cause keeps growing, limit the clients that can reach the webhook's port";
    /// Any other 403.
    RbacForbidden, "rbac_forbidden", Slowly,
        "the API server does not let the replica write the pull Secret",
        "apply the chart or install.yaml of this release again: the ClusterRole must name the pull Secret";
    /// 401.
    ApiTokenRefused, "api_token_refused", Slowly,
        "the API server does not accept the token of the replica",
        "restart the ecr-pull-secrets pods; if the API server has a new issuer, keep the old one as its second --service-account-issuer for a day";
    /// A refusal by validation or by another admission plugin.
    SecretRefused, "secret_refused", Slowly,
        "the API server refuses the pull Secret",
        "exempt the pull Secret from the policy that `detail` of the log line `pull secret not written` names";
    /// No connection to the API server, or no answer in time.
    ApiServerUnreachable, "api_server_unreachable", Soon,
        "the API server does not answer the replica",
        "check the network between the ecr-pull-secrets pods and the API server";
    /// 429 and 5xx of the API server.
    ApiServerBusy, "api_server_busy", Soon,
        "the API server is overloaded",
        "check API Priority and Fairness for the ServiceAccount ecr-pull-secrets, and the load of the API server";
    /// Too many lost races in a row for the version of the Secret.
    WriteContended, "write_contended", Soon,
        "another field manager keeps changing the pull Secret",
        "stop the other field manager that `kubectl -n NAMESPACE get secret NAME --show-managed-fields -o yaml` lists";
    /// The deadline of the admission. The work goes on.
    StillWorking, "still_working", Soon,
        "the replica has not written the pull Secret yet",
        "wait: the kubelet retries the pull";
    /// A guard policy that is absent or unbound, or that lets a forbidden write pass.
    GuardMissing, "guard_missing", Slowly,
        "a guard policy is missing or lets forbidden writes pass",
        "apply the ValidatingAdmissionPolicies and bindings ecr-pull-secrets-guard-* of this release again";
    /// A configuration file that cannot be used, where another configuration is in force.
    ConfigurationInvalid, "configuration_invalid", Slowly,
        "the configuration file is invalid; replicas keep the last valid configuration",
        "correct the field that `error` of the log line `the configuration file is invalid` names";
    /// A serving certificate past its expiry.
    CertificateExpired, "certificate_expired", Slowly,
        "the serving certificate has expired",
        "renew tls.crt and tls.key in the Secret ecr-pull-secrets-tls as certs/README.md says for your `certificate.source`";
    /// Files or a Secret that cannot be served.
    CertificateUnusable, "certificate_unusable", Slowly,
        "the replica cannot load the serving certificate",
        "replace tls.crt and tls.key in the Secret ecr-pull-secrets-tls: `error` of the log line `the replica cannot load the serving certificate` names the fault";
    /// A Secret of another owner where self-signed mode stores its certificate.
    CertificateForeign, "certificate_foreign", Slowly,
        "the Secret of the serving certificate belongs to another owner",
        "delete the Secret ecr-pull-secrets-tls, or set `certificate.source` in the chart's values to certManager or secret";
    /// A caBundle that another field manager sets, in self-signed mode.
    CaBundleForeign, "ca_bundle_foreign", Slowly,
        "another field manager sets the caBundle of the webhook",
        "remove the annotations cert-manager.io/inject-* from zz-ecr-pull-secrets, or stop the field manager that sets caBundle";
    /// An ephemeral container with an ECR image in a pod that does not name the pull Secret.
    PodLacksReference, "pod_lacks_reference", Never,
        "the running pod does not name the pull Secret",
        "re-create the pod: the imagePullSecrets of a running pod cannot change";
    /// A pod with an ECR image that was stored without the reference.
    PodMissed, "pod_missed", Never,
        "the pod was created without a reference to the pull Secret",
        "delete the pod: its controller re-creates it; if the pod has no controller, create it again yourself";
    /// A refusal by ECR of a repository, with a token that it knows.
    PullDenied, "pull_denied", Never,
        "ECR refuses the pull: the AWS identity may not read the repository",
        "allow ecr:BatchGetImage and ecr:GetDownloadUrlForLayer in the identity's policy and, if the repository is in another account, in the repository policy";
    /// A token that ECR knows, and an image that it does not.
    ImageNotFound, "image_not_found", Never,
        "ECR has no such repository or tag",
        "correct the account, region, name or tag in the image, or push the image";
    /// A token that is too old for ECR.
    TokenExpired, "token_expired", Never,
        "ECR says that the token has expired",
        "remove other Secrets with this registry from the imagePullSecrets of the pod's template and ServiceAccount, and check the clocks of the nodes";
    /// A token that ECR cannot read.
    TokenInvalid, "token_invalid", Never,
        "ECR cannot read the credentials of the pull",
        "remove other Secrets with this registry from the imagePullSecrets of the pod's template and ServiceAccount, and stop other field managers of the pull Secret";
    /// No credentials of the node for the registry.
    PullUnauthenticated, "pull_unauthenticated", Never,
        "the kubelet pulled without credentials",
        "check that the annotation ecr-pull-secrets.dev/registries of the pull Secret names the registry, and that the kubelet can read the Secret";
    /// A refusal without a reason, such as a 403 to a HEAD: of the token, or of the repository.
    PullRefused, "pull_refused", Never,
        "ECR refuses the pull and gives no reason",
        "wait two minutes for a new token; if the pull still fails, allow ecr:BatchGetImage in the identity's policy and, if the repository is in another account, in the repository policy";
    /// `ErrImageNeverPull`: since Kubernetes 1.35 also for an image that another pod's credentials pulled.
    ImageNeverPull, "image_never_pull", Never,
        "the node has no usable copy of the image, and imagePullPolicy forbids a pull",
        "set imagePullPolicy to IfNotPresent in the pod's template, so that the kubelet can pull the image";
    /// The first pull through a cache, without the right to import the image.
    UpstreamImportDenied, "upstream_import_denied", Never,
        "the AWS identity may not import an image into a pull-through cache",
        "allow ecr:BatchImportUpstreamImage and ecr:CreateRepository in the identity's policy, or in the registry policy of the cache's account";
    /// The upstream registry of a pull-through cache.
    UpstreamRefused, "upstream_refused", Never,
        "ECR cannot get the image from the upstream registry of its cache",
        "correct the login in the Secrets Manager secret of the pull-through cache rule; if the upstream lacks the image, correct the image name";
    /// The storage to which ECR redirects for a layer.
    LayerRefused, "layer_refused", Never,
        "the storage of ECR refuses a layer of the image",
        "allow s3:GetObject on arn:aws:s3:::prod-REGION-starport-layer-bucket/* in the policy of the VPC endpoint for S3, and check the clock of the node";
    /// A proxy between the node and ECR, or a portal that answers in place of ECR.
    ProxyRefused, "proxy_refused", Never,
        "a proxy between the node and ECR refuses the pull",
        "correct the proxy settings of the node's container runtime, or add ECR and S3 to NO_PROXY there, and restart the runtime";
    /// No connection of the node: DNS, routing, TLS.
    RegistryUnreachable, "registry_unreachable", Never,
        "the node cannot connect to ECR",
        "check DNS, routes, security groups and certificates of the node, and its VPC endpoints for ecr.dkr and S3";
    /// HTTP 429 and 5xx of the registry.
    RegistryBusy, "registry_busy", Never,
        "ECR throttles the pull or answers with a server error",
        "wait: the kubelet retries the pull; if ECR keeps refusing, compare the number of pulls with the ECR quotas and check health.aws.amazon.com";
    /// An image index without the node's platform.
    ImagePlatformMissing, "image_platform_missing", Never,
        "the image has no variant for the node's platform",
        "build the image for the node's architecture, or select nodes by the label kubernetes.io/arch";
}

impl Cause {
    /// The line that `kubectl` prints when the API server admits the pod: at most 120 characters,
    /// as the Kubernetes documentation advises.
    pub fn warning(self) -> String {
        format!("ecr-pull-secrets: {} ({})", self.sentence(), self.name())
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests;
