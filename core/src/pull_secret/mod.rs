//! The pull Secret: what it holds, who owns it, and how it is written.

pub mod book;
pub mod content;
pub mod docker_config;
pub mod expiry;
pub mod flight;
pub mod held;
pub mod incumbent;
pub mod keyring;
pub mod lineup;
pub mod ownership;
pub mod repair_schedule;
pub mod revision;
pub mod tolerance;
pub mod usage;
pub mod withdrawal;

/// Prefix of our labels' and annotations' names.
pub const PREFIX: &str = "ecr-pull-secrets.dev/";
/// The label that names the manager of the Secret.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value on our Secrets, and the field manager of every write.
pub const OWNER: &str = "ecr-pull-secrets";
/// The one key of a pull Secret's data.
pub const DATA_KEY: &str = ".dockerconfigjson";
/// The type of a pull Secret.
pub const SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";
/// The key of the data in a Secret of the other type that the kubelet reads.
pub const LEGACY_DATA_KEY: &str = ".dockercfg";
/// That type. No Secret of ours has it, and the type of a Secret cannot change.
pub const LEGACY_SECRET_TYPE: &str = "kubernetes.io/dockercfg";
/// Registries in one Secret: near 290 entries it would pass 1 MiB.
pub const MAX_REGISTRIES: usize = 100;

/// Annotations of a pull Secret.
pub mod annotation {
    /// Hosts, sorted, with commas.
    pub const REGISTRIES: &str = "ecr-pull-secrets.dev/registries";
    /// The earliest expiry of all tokens, RFC 3339.
    pub const EXPIRES_AT: &str = "ecr-pull-secrets.dev/expires-at";
    /// For each host in the order of `registries`: when its token was minted and when it expires,
    /// `START/END` in RFC 3339, with commas.
    pub const LIFETIMES: &str = "ecr-pull-secrets.dev/lifetimes";
    /// Identity that minted the tokens: one for all, or one for each host in the order of
    /// `registries`, with spaces, as the name of a role may hold a comma.
    pub const IDENTITY: &str = "ecr-pull-secrets.dev/identity";
    /// A hash of the content, to tell two versions apart without reading them.
    pub const FINGERPRINT: &str = "ecr-pull-secrets.dev/fingerprint";
    /// `"true"` on a Secret that holds nothing but the hosts in `registries`.
    pub const EXCLUSIVE: &str = "ecr-pull-secrets.dev/exclusive";
    /// Since when nothing uses the Secret, as far as clean-up saw: RFC 3339.
    pub const UNUSED_SINCE: &str = "ecr-pull-secrets.dev/unused-since";
    /// The version of this format.
    pub const FORMAT: &str = "ecr-pull-secrets.dev/format";
    /// The annotations that describe the content.
    pub const DESCRIBING: [&str; 5] = [REGISTRIES, LIFETIMES, IDENTITY, EXCLUSIVE, FORMAT];
    /// `"true"` on a namespace: what the Secret shall not hold any more goes at once.
    pub const REMOVE: &str = "ecr-pull-secrets.dev/remove";
    /// `"true"`: the owner lets us adopt the Secret.
    pub const ADOPT: &str = "ecr-pull-secrets.dev/adopt";
    /// The copy that `kubectl apply` keeps of the whole Secret, token included.
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
}
