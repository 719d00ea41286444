//! The Amazon ECR registry that a host name means, if any.
//!
//! A private registry is `ACCOUNT.dkr.ecr.REGION.SUFFIX`. The account has twelve digits. The FIPS
//! form has `-fips` after `ecr`, and the dual-stack form has a dash for the dot of `dkr.ecr`. The
//! suffix belongs to the region's partition:
//!
//! | partition | regions | suffixes (the dual-stack one second) |
//! |---|---|---|
//! | aws | all others, including unknown ones | `amazonaws.com`, `on.aws` |
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
//! the SDKs. The rule is stricter than AWS's own: it matches the whole host, is case-sensitive (as
//! the kubelet matches credentials), and accepts only ASCII, a suffix of the region's partition, and
//! no port but 443. It is strict because a look-alike must get no token, and because the region
//! becomes part of a host name that this program calls.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::reference::Reference;

/// 63 bytes, DNS's limit for a label. It also keeps the host far below DNS's 253 bytes for a name.
const LABEL_LIMIT: usize = 63;
const ACCOUNT_LENGTH: usize = 12;
/// The only port that ECR serves. If an image names it, the kubelet requires it in the auths key
/// too.
const PORT: &str = ":443";
/// The region of ECR Public's only control plane.
const PUBLIC_REGION: &str = "us-east-1";

/// An ECR registry, identified by its host exactly as an image writes it. Cheap to clone: clones
/// share one allocation.
#[derive(Clone)]
pub struct Registry {
    host: Arc<str>,
    kind: Kind,
    partition: Partition,
    endpoint: Endpoint,
}

#[derive(Clone)]
enum Kind {
    /// The account is the first twelve bytes of the host, the region is at this range.
    Private {
        region: Range<usize>,
    },
    Public,
}

/// A part of AWS with its own credentials, which no other partition accepts.
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

/// The ECR API endpoint of a region that belongs to a registry host. A registry with FIPS or IPv6
/// gets its token from an endpoint of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `api.ecr.REGION.…`.
    Standard,
    /// `api.ecr-fips.REGION.…`.
    Fips,
    /// `ecr.REGION.api.aws`, reachable by IPv6.
    DualStack,
    /// `ecr-fips.REGION.api.aws`.
    DualStackFips,
}

impl Registry {
    /// The registry of `image`, if it is ECR. An invalid reference is *not ours*, because the kubelet
    /// reports it.
    pub fn of_image(image: &str) -> Option<Self> {
        Self::of_host(Reference::parse(image).ok()?.domain())
    }

    /// The registry with this auths key: `HOST` or `HOST:443`, without scheme and path, exactly as
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

    /// The key in `auths`, with `:443` if the image has it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The account: twelve digits, as text because leading zeros count. None for ECR Public, which
    /// has an alias in the path instead.
    pub fn account(&self) -> Option<&str> {
        match self.kind {
            Kind::Private { .. } => Some(&self.host[..ACCOUNT_LENGTH]),
            Kind::Public => None,
        }
    }

    /// The region whose tokens open this registry; `us-east-1` for ECR Public.
    pub fn region(&self) -> &str {
        match &self.kind {
            Kind::Private { region } => &self.host[region.clone()],
            Kind::Public => PUBLIC_REGION,
        }
    }

    /// The partition of the region.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The AWS API endpoint that mints the token.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Whether this is ECR Public. It allows anonymous pulls, to which the kubelet does not fall
    /// back once it has a credential.
    pub fn is_public(&self) -> bool {
        matches!(self.kind, Kind::Public)
    }
}

/// Parses `ACCOUNT.dkr[.-]ecr[-fips].REGION.SUFFIX`.
fn private(name: &str) -> Option<(Kind, Partition, Endpoint)> {
    let (account, rest) = name.split_once('.')?;
    if account.len() != ACCOUNT_LENGTH || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // AWS's own tools accept dot and dash with either suffix. This is safe, because all suffixes are
    // AWS's. The suffix decides what the name resolves to, not the separator.
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

/// Whether the text is `[a-z]{2,}(-[a-z]+)+-[0-9]+` and at most one DNS label long. There is no list
/// of names, so that a new region needs no new release.
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
    /// The partition by prefix, as in `partitions.json`. An unknown region is commercial, as in the
    /// SDKs.
    pub(crate) fn of_region(region: &str) -> Self {
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

    /// The network stack of the suffix; none if it is not a suffix of this partition.
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

// All other fields follow from the host, so the host alone is the identity.

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
