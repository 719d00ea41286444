//! Why something did not work, in one vocabulary.
//!
//! A [`Cause`] is what a metric label, an Event, a warning to `kubectl`, a log line and the
//! RUNBOOK call the same thing: one name, one sentence, one remedy, one opinion on retrying.
//! Errors of libraries are turned into a cause once, where they happen; nobody matches on their
//! text later. A cause never carries data: what it was about (a registry, a namespace) stands
//! beside it, and tokens stand nowhere.

use std::time::Duration;

/// How soon trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The other side is in trouble and may be back in a second.
    Soon,
    /// Somebody has to change something first: a policy, a quota, a role.
    Slowly,
    /// Not without a new pod, a new configuration or another object.
    Never,
}

impl Retry {
    /// First and longest pause between two attempts; `None` for [`Retry::Never`].
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
        /// Everything that can stand between a pod and its image, as far as we can tell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause { $($(#[$doc])* $variant,)+ }

        impl Cause {
            /// Every cause there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// `snake_case`: the metric label, the log field and the heading in the RUNBOOK.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// `CamelCase`: the reason of an Event.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What is the matter: lower case, no full stop.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// What a person can do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }

            /// Whether and how soon to try again.
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)+ }
            }
        }
    };
}

causes! {
    /// No connection: DNS, routing, TLS.
    AwsUnreachable, "aws_unreachable", Soon,
        "AWS cannot be reached",
        "check DNS, egress rules and proxies of the ecr-pull-secrets pods, and `endpoints` in the configuration";
    /// A connection, but no answer within the attempt's time.
    AwsTimeout, "aws_timeout", Soon,
        "AWS does not answer in time",
        "check the network path to the ECR API, and the AWS health page";
    /// HTTP 429 or one of the throttling codes.
    AwsThrottled, "aws_throttled", Soon,
        "AWS throttles ecr:GetAuthorizationToken",
        "look for other callers of ecr:GetAuthorizationToken in the account, and ask AWS for a higher quota";
    /// HTTP 5xx.
    AwsServerError, "aws_server_error", Soon,
        "AWS answers with a server error",
        "nothing to do here; see the AWS health page";
    /// HTTP 200, but nothing in it that could be a token.
    AwsAnswerUnusable, "aws_answer_unusable", Soon,
        "AWS answered without a usable token",
        "check that `endpoints` and proxies point at the ECR API";
    /// `AccessDeniedException`.
    AwsAccessDenied, "aws_access_denied", Slowly,
        "the AWS identity may not call ecr:GetAuthorizationToken",
        "attach AmazonEC2ContainerRegistryPullOnly to the identity that the log line names";
    /// No provider of the SDK's chain had credentials.
    AwsCredentialsMissing, "aws_credentials_missing", Slowly,
        "no AWS credentials were found",
        "give the ecr-pull-secrets pods credentials: a Secret, a role for the ServiceAccount, or an instance role";
    /// A file or a pair of keys that is not what it should be; AWS was not asked.
    AwsCredentialsUnreadable, "aws_credentials_unreadable", Slowly,
        "the AWS credentials cannot be read",
        "look into the mounted Secret or the credentials file; the log line says what is wrong with it";
    /// `UnrecognizedClientException`, `InvalidClientTokenId`.
    AwsCredentialsRefused, "aws_credentials_refused", Slowly,
        "AWS does not accept the access key",
        "check that the key exists, is active and belongs to the partition of the registry";
    /// `ExpiredTokenException`.
    AwsCredentialsExpired, "aws_credentials_expired", Soon,
        "the AWS session has expired",
        "renew the session credentials, or use credentials that renew themselves";
    /// `InvalidSignatureException`, `SignatureDoesNotMatch`.
    AwsSignatureRefused, "aws_signature_refused", Slowly,
        "AWS refuses the signature",
        "check the secret key for stray characters, and the clock of the node";
    /// STS refused the role of a rule.
    AwsRoleRefused, "aws_role_refused", Slowly,
        "the role of a rule cannot be assumed",
        "check the role's trust policy, its external id and the identity's sts:AssumeRole permission";
    /// Anything else that AWS said.
    AwsError, "aws_error", Slowly,
        "AWS refuses the request for a token",
        "see the log line for the code that AWS gave";
    /// Every rule was asked, and the first that matched denies.
    DeniedByRule, "denied_by_rule", Never,
        "the rules deny this registry in this namespace",
        "add a rule that allows the registry for the namespace, or use another registry";
    /// The cap on registries in one Secret.
    TooManyRegistries, "too_many_registries", Never,
        "the namespace already uses 100 registries",
        "remove pods with registries that are not needed, or spread them over namespaces";
    /// The cap on new tokens for one namespace.
    TooManyTokens, "too_many_tokens", Slowly,
        "the namespace asks for too many new regions at once",
        "check the image names in the namespace: each region needs a token of its own";
    /// `kubernetes.io/enforce-mountable-secrets`: the API server would refuse the pod because of us.
    ServiceAccountRestricted, "service_account_restricted", Never,
        "the ServiceAccount allows listed pull secrets only",
        "list the pull Secret in the ServiceAccount's imagePullSecrets, or drop enforce-mountable-secrets";
    /// A Secret of our name with another type.
    ForeignType, "foreign_type", Slowly,
        "a Secret of another type has the pull Secret's name",
        "rename or delete that Secret, or choose another `secret.name`";
    /// A dockerconfigjson Secret of our name that belongs to somebody else.
    ForeignOwner, "foreign_owner", Slowly,
        "somebody else's Secret has the pull Secret's name",
        "annotate it with ecr-pull-secrets.dev/adopt=true to hand it over, or choose another `secret.name`";
    /// A foreign Secret of our name that breaks the keyring of every pod that names it.
    ForeignMalformed, "foreign_malformed", Slowly,
        "a malformed Secret has the pull Secret's name",
        "repair or delete that Secret: it breaks every pull that refers to it";
    /// `immutable: true`.
    ForeignImmutable, "foreign_immutable", Slowly,
        "an immutable Secret has the pull Secret's name",
        "delete that Secret; an immutable one cannot be rotated";
    /// 403 from a ResourceQuota.
    QuotaExceeded, "quota_exceeded", Slowly,
        "a quota forbids the pull Secret",
        "raise the quota on Secrets in the namespace by one";
    /// 403 with cause `NamespaceTerminating`.
    NamespaceTerminating, "namespace_terminating", Never,
        "the namespace is being deleted",
        "nothing to do";
    /// 404 for the namespace.
    NamespaceMissing, "namespace_missing", Never,
        "the namespace does not exist",
        "nothing to do";
    /// Any other 403.
    RbacForbidden, "rbac_forbidden", Slowly,
        "the API server forbids writing the pull Secret",
        "install the ClusterRole and the guard policies of the same release; the log line quotes the API server";
    /// Another admission plugin or the validation refused the Secret.
    SecretRefused, "secret_refused", Slowly,
        "the API server refuses the pull Secret",
        "see the log line for its answer; a policy engine may need an exception for the pull Secret";
    /// No connection to the API server, or none in time.
    ApiServerUnreachable, "api_server_unreachable", Soon,
        "the API server cannot be reached",
        "check the network between the ecr-pull-secrets pods and the API server";
    /// 429, 5xx.
    ApiServerBusy, "api_server_busy", Soon,
        "the API server is overloaded",
        "check API Priority and Fairness for the ServiceAccount ecr-pull-secrets";
    /// Optimistic locking lost too often in a row.
    WriteContended, "write_contended", Soon,
        "others keep changing the pull Secret",
        "look in the Secret's managedFields for who else writes it";
    /// The deadline of the admission passed; the work goes on.
    StillWorking, "still_working", Soon,
        "the pull Secret is still being written",
        "nothing to do: the kubelet retries";
    /// A ValidatingAdmissionPolicy of ours is absent, unbound, or lets a forbidden write pass.
    GuardMissing, "guard_missing", Slowly,
        "the guard policies are missing or do not deny",
        "install the ValidatingAdmissionPolicies and bindings ecr-pull-secrets-guard-* of this release";
    /// The serving certificate is past its end.
    CertificateExpired, "certificate_expired", Slowly,
        "the serving certificate has expired",
        "renew it where it comes from: the Secret ecr-pull-secrets-tls, or whoever keeps that; see certs/README.md";
    /// Files or a Secret hold something that cannot be served.
    CertificateUnusable, "certificate_unusable", Slowly,
        "the serving certificate cannot be taken up",
        "see the log line for what is wrong with tls.crt or tls.key; what was good before is still served";
    /// Self-signed mode finds a Secret of its name that somebody else keeps.
    CertificateForeign, "certificate_foreign", Slowly,
        "somebody else's Secret has the serving certificate's name",
        "delete the Secret ecr-pull-secrets-tls, or set the chart's certificate.source to what keeps it";
    /// Self-signed mode finds a caBundle that somebody else keeps, or keeps changing.
    CaBundleForeign, "ca_bundle_foreign", Slowly,
        "somebody else keeps the registration's caBundle",
        "remove cert-manager.io/inject-ca-from from zz-ecr-pull-secrets, or whoever its managedFields say writes it";
    /// An ephemeral container with an ECR image in a pod that does not name the pull Secret.
    PodLacksReference, "pod_lacks_reference", Never,
        "the running pod does not name the pull Secret",
        "create the pod again; the imagePullSecrets of a running pod cannot change";
    /// A pod with an ECR image that was stored without the reference: no replica was asked.
    PodMissed, "pod_missed", Never,
        "the pod was made without a reference to the pull Secret",
        "delete the pod, so that its controller makes it anew, or make it again; the reference cannot be added later";
    /// The registry knows the token, and refuses the repository.
    PullDenied, "pull_denied", Never,
        "ECR refuses the pull: the AWS identity lacks the right",
        "allow ecr:BatchGetImage and ecr:GetDownloadUrlForLayer in the identity's policy and, for another account's repository, in its own";
    /// The registry knows the token, and not the image.
    ImageNotFound, "image_not_found", Never,
        "ECR has no such repository or tag",
        "check the image's account, region, name and tag, and that it was pushed";
    /// The registry says that the token is too old.
    TokenExpired, "token_expired", Never,
        "ECR says that the token has expired",
        "compare the annotation expires-at of the pull Secret with the clock; look for another pull Secret of the pod with the same registry";
    /// The registry cannot read the token.
    TokenInvalid, "token_invalid", Never,
        "ECR cannot read the credentials of the pull",
        "look for another pull Secret of the pod with the same registry, and in the pull Secret's managedFields for who else writes it";
    /// The node had nothing to show to the registry.
    PullUnauthenticated, "pull_unauthenticated", Never,
        "the node had no credentials for the pull",
        "check that the pull Secret holds the image's registry; the node reads it anew at each attempt";
}

impl Cause {
    /// The line that the API server shows to whoever created the pod: at most 120 characters, as
    /// the Kubernetes documentation advises.
    pub fn warning(self) -> String {
        format!("ecr-pull-secrets: {} ({})", self.sentence(), self.name())
    }

    /// The cause of a given [`Cause::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.name() == name)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn snake(camel: &str) -> String {
        let mut out = String::new();
        for letter in camel.chars() {
            if letter.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(letter.to_ascii_lowercase());
        }
        out
    }

    #[test]
    fn every_cause_has_one_name_in_two_spellings() {
        let names: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            assert_eq!(cause.name(), snake(cause.reason()));
            assert_eq!(Cause::from_name(cause.name()), Some(*cause));
        }
        assert_eq!(Cause::from_name("no_such_cause"), None);
    }

    #[test]
    fn every_warning_fits_and_names_its_cause() {
        for cause in Cause::ALL {
            let warning = cause.warning();
            assert!(
                warning.len() <= 120,
                "{} characters: {warning}",
                warning.len()
            );
            assert!(warning.contains(cause.name()) && warning.contains(cause.sentence()));
            assert!(warning.is_ascii());
            assert_eq!(cause.to_string(), cause.sentence());
        }
    }

    #[test]
    fn sentences_and_remedies_keep_to_the_house_style() {
        for cause in Cause::ALL {
            for text in [cause.sentence(), cause.remedy()] {
                assert!(!text.ends_with('.'), "{text}");
                assert!(text.len() > 8, "{text}");
            }
        }
    }

    #[test]
    fn trouble_on_the_other_side_is_retried_sooner_than_a_mistake() {
        let (soon, soon_cap) = Retry::Soon.pauses().unwrap();
        let (slowly, slowly_cap) = Retry::Slowly.pauses().unwrap();
        assert!(soon < slowly && soon_cap < slowly_cap);
        assert_eq!(Retry::Never.pauses(), None);
        assert_eq!(Cause::AwsThrottled.retry(), Retry::Soon);
        assert_eq!(Cause::AwsAccessDenied.retry(), Retry::Slowly);
        assert_eq!(Cause::NamespaceTerminating.retry(), Retry::Never);
    }
}
