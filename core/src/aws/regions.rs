//! The regions that AWS documents. Pod authors choose regions, and inventions cost as many calls as
//! real ones: so they wait behind each other, and not before those that exist.
//!
//! A region that is newer than this list works, and waits with the inventions; `rules`, `provision` or
//! `endpoints` of the configuration may name it.
//!
//! Source: `partitions.json` of the AWS SDKs, and AWS's list of regions.

/// Sorted.
const LISTED: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Whether AWS documents the region.
pub fn is_listed(region: &str) -> bool {
    LISTED.binary_search(&region).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::is_region;

    #[test]
    fn listed_regions_are_regions() {
        assert!(LISTED.is_sorted());
        for region in LISTED {
            assert!(is_region(region) && is_listed(region), "{region}");
        }
        assert!(!is_listed("xx-land-1") && !is_listed(""));
    }
}
