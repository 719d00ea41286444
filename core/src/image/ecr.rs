//! Which Amazon ECR registry a host name is, if any.
//!
//! A private registry is `ACCOUNT.dkr.ecr.REGION.SUFFIX`: twelve digits, `-fips` after `ecr` for
//! the FIPS twin, a dash in place of the dot of `dkr.ecr` for the dual-stack one, and a suffix that
//! belongs to the region's partition:
//!
//! | partition | regions | suffixes (the dual-stack one second) |
//! |---|---|---|
//! | aws | all others, also ones not heard of | `amazonaws.com`, `on.aws` |
//! | aws-us-gov | `us-gov-…` | `amazonaws.com`, `on.aws` |
//! | aws-cn | `cn-…` | `amazonaws.com.cn`, `on.amazonwebservices.com.cn` |
//! | aws-eusc | `eusc-…` | `amazonaws.eu` |
//! | aws-iso | `us-iso-…` | `c2s.ic.gov` |
//! | aws-iso-b | `us-isob-…` | `sc2s.sgov.gov` |
//! | aws-iso-e | `eu-isoe-…` | `cloud.adc-e.uk` |
//! | aws-iso-f | `us-isof-…` | `csp.hci.ic.gov` |
//!
//! Sources: the tests of kubernetes/cloud-provider-aws and awslabs/amazon-ecr-credential-helper,
//! the endpoint table in docs.aws.amazon.com/general/latest/gr/ecr.html, and `partitions.json` of
//! the SDKs. The rule is stricter than AWS's own: whole host, case-sensitive (as the kubelet
//! matches credentials), ASCII, coherent, and no port but 443. A look-alike must get no token, and
//! the region becomes part of the name of a host that this program calls.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::reference::Reference;

/// In bytes: what DNS allows for a label. It also keeps the whole host far below the 253 of a name.
const LABEL_LIMIT: usize = 63;
const ACCOUNT_LENGTH: usize = 12;
/// The only port that ECR serves. Where an image writes it, the kubelet demands it in the auths key
/// too.
const PORT: &str = ":443";
/// ECR Public has one control plane; every tool calls it in this region.
const PUBLIC_REGION: &str = "us-east-1";

/// An ECR registry, identified by its host exactly as an image writes it. One allocation; a clone
/// shares it.
#[derive(Clone)]
pub struct Registry {
    host: Arc<str>,
    kind: Kind,
    partition: Partition,
    endpoint: Endpoint,
}

#[derive(Clone)]
enum Kind {
    /// The account is the first twelve bytes of the host; the region lies here.
    Private {
        region: Range<usize>,
    },
    Public,
}

/// A part of AWS with credentials of its own: one partition's are useless in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// Commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
    /// US isolated, top secret.
    AwsIso,
    /// US isolated, secret.
    AwsIsoB,
    /// Europe isolated.
    AwsIsoE,
    /// US isolated, with its own suffix `csp.hci.ic.gov`.
    AwsIsoF,
    /// European Sovereign Cloud.
    AwsEusc,
}

/// Which of a region's ECR API endpoints goes with a registry host: someone who pulls by FIPS or
/// IPv6 must not be sent elsewhere for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `api.ecr.REGION.…`
    Standard,
    /// `api.ecr-fips.REGION.…`
    Fips,
    /// `ecr.REGION.api.aws`, reachable by IPv6.
    DualStack,
    /// `ecr-fips.REGION.api.aws`
    DualStackFips,
}

impl Registry {
    /// The registry that `image` is pulled from, if it is ECR. A bad reference is *not ours*: the
    /// kubelet reports it.
    pub fn of_image(image: &str) -> Option<Self> {
        Self::of_host(Reference::parse(image).ok()?.domain())
    }

    /// The registry with this auths key: `HOST` or `HOST:443`, without scheme or path, exactly as
    /// an image writes it.
    pub fn of_host(host: &str) -> Option<Self> {
        let name = host.strip_suffix(PORT).unwrap_or(host);
        let (kind, partition, endpoint) = match name {
            "public.ecr.aws" => (Kind::Public, Partition::Aws, Endpoint::Standard),
            "ecr-public.aws.com" => (Kind::Public, Partition::Aws, Endpoint::DualStack),
            _ => private(name)?,
        };
        Some(Self {
            host: Arc::from(host),
            kind,
            partition,
            endpoint,
        })
    }

    /// The key in `auths`, `:443` kept where the image has it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Twelve digits; text, for leading zeros count. None for ECR Public, where an alias in the
    /// path takes its place.
    pub fn account(&self) -> Option<&str> {
        match self.kind {
            Kind::Private { .. } => Some(&self.host[..ACCOUNT_LENGTH]),
            Kind::Public => None,
        }
    }

    /// The region whose tokens this registry takes; `us-east-1` for ECR Public.
    pub fn region(&self) -> &str {
        match &self.kind {
            Kind::Private { region } => &self.host[region.clone()],
            Kind::Public => PUBLIC_REGION,
        }
    }

    /// The partition, by the region.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Which AWS API endpoint to ask for the token.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// ECR Public pulls anonymously; the kubelet does not fall back to that once it holds a
    /// credential.
    pub fn is_public(&self) -> bool {
        matches!(self.kind, Kind::Public)
    }
}

/// `ACCOUNT.dkr[.-]ecr[-fips].REGION.SUFFIX`
fn private(name: &str) -> Option<(Kind, Partition, Endpoint)> {
    let (account, rest) = name.split_once('.')?;
    if account.len() != ACCOUNT_LENGTH || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // AWS's own tools take dot and dash under either suffix. All suffixes are AWS's, so it costs
    // nothing; the suffix, not the separator, says what the name resolves to.
    let rest = rest
        .strip_prefix("dkr.ecr")
        .or_else(|| rest.strip_prefix("dkr-ecr"))?;
    let (fips, rest) = rest
        .strip_prefix("-fips")
        .map_or((false, rest), |rest| (true, rest));
    let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
    if !is_region(region) {
        return None;
    }
    let partition = Partition::of_region(region);
    let endpoint = match (partition.stack(suffix)?, fips) {
        (Stack::Single, false) => Endpoint::Standard,
        (Stack::Single, true) => Endpoint::Fips,
        (Stack::Dual, false) => Endpoint::DualStack,
        (Stack::Dual, true) => Endpoint::DualStackFips,
    };
    let start = name.len() - suffix.len() - 1 - region.len();
    Some((
        Kind::Private {
            region: start..start + region.len(),
        },
        partition,
        endpoint,
    ))
}

/// `[a-z]{2,}(-[a-z]+)+-[0-9]+`, at most one DNS label long. New regions need no release of ours;
/// hence no list of names.
pub(crate) fn is_region(region: &str) -> bool {
    let Some((area, number)) = region.rsplit_once('-') else {
        return false;
    };
    let Some((first, others)) = area.split_once('-') else {
        return false;
    };
    let letters =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    region.len() <= LABEL_LIMIT
        && first.len() >= 2
        && letters(first)
        && others.split('-').all(letters)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[derive(Clone, Copy)]
enum Stack {
    Single,
    Dual,
}

impl Partition {
    /// By prefix, as in `partitions.json`; the SDKs also take a region that they do not know for a
    /// commercial one.
    fn of_region(region: &str) -> Self {
        const PREFIXES: [(&str, Partition); 7] = [
            ("cn-", Partition::AwsCn),
            ("us-gov-", Partition::AwsUsGov),
            ("us-iso-", Partition::AwsIso),
            ("us-isob-", Partition::AwsIsoB),
            ("eu-isoe-", Partition::AwsIsoE),
            ("us-isof-", Partition::AwsIsoF),
            ("eusc-", Partition::AwsEusc),
        ];
        PREFIXES
            .iter()
            .find(|(prefix, _)| region.starts_with(prefix))
            .map_or(Self::Aws, |&(_, partition)| partition)
    }

    /// None where the suffix is another partition's, or nobody's.
    fn stack(self, suffix: &str) -> Option<Stack> {
        let (single, dual) = match self {
            Self::Aws | Self::AwsUsGov => ("amazonaws.com", Some("on.aws")),
            Self::AwsCn => ("amazonaws.com.cn", Some("on.amazonwebservices.com.cn")),
            Self::AwsIso => ("c2s.ic.gov", None),
            Self::AwsIsoB => ("sc2s.sgov.gov", None),
            Self::AwsIsoE => ("cloud.adc-e.uk", None),
            Self::AwsIsoF => ("csp.hci.ic.gov", None),
            Self::AwsEusc => ("amazonaws.eu", None),
        };
        if suffix == single {
            return Some(Stack::Single);
        }
        (dual == Some(suffix)).then_some(Stack::Dual)
    }
}

// Everything else follows from the host, so the host alone is the identity.

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host
    }
}

impl Eq for Registry {}

impl Hash for Registry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
    }
}

impl PartialOrd for Registry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Registry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.host.cmp(&other.host)
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.host)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.host, formatter)
    }
}
