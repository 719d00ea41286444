//! Where STS is asked for a registry's token: the region, the kind of endpoint, and a URL where one is
//! configured.

use crate::image::{Endpoint, Partition};

/// The endpoint of STS without a region, and the region that signs for it.
const GLOBAL: &str = "sts.amazonaws.com";
const REGION_OF_GLOBAL: &str = "us-east-1";

/// The kind of endpoint: each of the two may be wanted by the registry's host or by the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndpointKind {
    /// FIPS 140.
    pub fips: bool,
    /// IPv4 and IPv6.
    pub dual_stack: bool,
}

impl EndpointKind {
    /// What either wants.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            fips: self.fips || other.fips,
            dual_stack: self.dual_stack || other.dual_stack,
        }
    }
}

impl From<Endpoint> for EndpointKind {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            fips: matches!(endpoint, Endpoint::Fips | Endpoint::DualStackFips),
            dual_stack: matches!(endpoint, Endpoint::DualStack | Endpoint::DualStackFips),
        }
    }
}

/// STS in one region, at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StsPlace {
    /// The region that signs.
    pub region: String,
    /// What the registry's host wants of the endpoint.
    pub kind: EndpointKind,
    /// The configured URL.
    pub url: Option<String>,
}

impl StsPlace {
    /// The place for a registry. `home` is the replica's own region; `url` is what the configuration
    /// says for the registry's region.
    pub fn of(home: Option<&str>, registry: &str, endpoint: Endpoint, url: Option<&str>) -> Self {
        if let Some(url) = url {
            return Self {
                region: region_of(url).unwrap_or(registry).to_owned(),
                kind: EndpointKind::default(),
                url: Some(url.to_owned()),
            };
        }
        // Credentials of one partition are worth nothing in another.
        let partition = Partition::of_region(registry);
        let is_near = |home: &&str| Partition::of_region(home) == partition;
        let region = home.filter(is_near).unwrap_or(registry);
        // Few regions have STS with FIPS: the host speaks for its own.
        let kind = if region == registry {
            endpoint.into()
        } else {
            EndpointKind::default()
        };
        Self {
            region: region.to_owned(),
            kind,
            url: None,
        }
    }
}

/// The region in the host of an STS endpoint: `sts.REGION.…`, `sts-fips.REGION.…` or
/// `vpce-….sts.REGION.vpce.…`. STS accepts a signature for its own region alone.
fn region_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', ':', '?', '#']).next()?;
    if host == GLOBAL {
        return Some(REGION_OF_GLOBAL);
    }
    let mut labels = host.split('.');
    labels.find(|label| matches!(*label, "sts" | "sts-fips"))?;
    labels.next().filter(|label| label.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sts_is_asked_at_home_within_the_partition() {
        for (home, registry, region) in [
            (Some("eu-west-1"), "eu-central-1", "eu-west-1"),
            (None, "eu-central-1", "eu-central-1"),
            (Some("eu-west-1"), "cn-north-1", "cn-north-1"),
            (Some("cn-northwest-1"), "cn-north-1", "cn-northwest-1"),
            (Some("us-east-1"), "us-gov-west-1", "us-gov-west-1"),
        ] {
            let place = StsPlace::of(home, registry, Endpoint::Standard, None);
            assert_eq!(
                (place.region.as_str(), place.url),
                (region, None),
                "{home:?} {registry}"
            );
        }
    }

    #[test]
    fn configured_endpoint_is_signed_for_its_region() {
        for (url, region) in [
            (
                "https://vpce-0a-b.sts.eu-central-1.vpce.amazonaws.com",
                "eu-central-1",
            ),
            ("https://sts.eu-west-1.amazonaws.com/", "eu-west-1"),
            ("https://sts-fips.us-east-1.amazonaws.com:443", "us-east-1"),
            ("https://sts.amazonaws.com", "us-east-1"),
            ("http://127.0.0.1:4566", "us-east-2"),
        ] {
            let place = StsPlace::of(Some("eu-north-1"), "us-east-2", Endpoint::Fips, Some(url));
            assert_eq!(place.region, region, "{url}");
            assert_eq!(place.url.as_deref(), Some(url));
            assert_eq!(place.kind, EndpointKind::default(), "{url}");
        }
    }

    #[test]
    fn kind_of_endpoint_is_wanted_by_host_or_environment() {
        let fips = EndpointKind {
            fips: true,
            dual_stack: false,
        };
        let dual_stack = EndpointKind {
            fips: false,
            dual_stack: true,
        };
        assert_eq!(
            fips.or(dual_stack),
            EndpointKind::from(Endpoint::DualStackFips)
        );
        assert_eq!(fips.or(dual_stack), dual_stack.or(fips));
        assert_eq!(fips.or(Endpoint::Standard.into()), fips);
        let of = |home, endpoint| StsPlace::of(home, "us-east-1", endpoint, None).kind;
        assert_eq!(of(None, Endpoint::Fips), fips);
        assert_eq!(of(Some("us-east-1"), Endpoint::DualStack), dual_stack);
        // No STS with FIPS is there.
        assert_eq!(
            of(Some("eu-west-1"), Endpoint::Fips),
            EndpointKind::default()
        );
    }
}
