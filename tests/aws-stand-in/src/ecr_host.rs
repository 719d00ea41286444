//! The registry that a host name means. Independent of the product's own rule, so that the two check each other.

/// A registry: one account's repositories in one region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EcrHost {
    /// Twelve digits.
    pub account: String,
    /// Region as the host name writes it.
    pub region: String,
}

/// Partition, registry suffix, dual-stack registry suffix, prefixes of the partition's regions.
/// Source: botocore's `partitions.json` and the endpoint tables of the ECR documentation.
const PARTITIONS: &[(&str, &str, Option<&str>, &[&str])] = &[
    (
        "aws-cn",
        "amazonaws.com.cn",
        Some("on.amazonwebservices.com.cn"),
        &["cn-"],
    ),
    ("aws-us-gov", "amazonaws.com", Some("on.aws"), &["us-gov-"]),
    ("aws-iso", "c2s.ic.gov", None, &["us-iso-"]),
    ("aws-iso-b", "sc2s.sgov.gov", None, &["us-isob-"]),
    ("aws-iso-e", "cloud.adc-e.uk", None, &["eu-isoe-"]),
    ("aws-iso-f", "csp.hci.ic.gov", None, &["us-isof-"]),
    ("aws-eusc", "amazonaws.eu", None, &["eusc-"]),
    // Last, because it matches every region.
    ("aws", "amazonaws.com", Some("on.aws"), &[""]),
];

fn partition_row(region: &str) -> (&'static str, &'static str, Option<&'static str>) {
    PARTITIONS
        .iter()
        .find(|(_, _, _, prefixes)| prefixes.iter().any(|prefix| region.starts_with(prefix)))
        .map_or(("aws", "amazonaws.com", Some("on.aws")), |row| {
            (row.0, row.1, row.2)
        })
}

/// The partition of a region, as ARNs write it.
pub(crate) fn partition(region: &str) -> &'static str {
    partition_row(region).0
}

impl EcrHost {
    /// Parses `ACCOUNT.dkr.ecr.REGION.SUFFIX`, its FIPS and dual-stack forms included, with or without `:443`.
    pub fn parse(host: &str) -> Option<Self> {
        let host = host.strip_suffix(":443").unwrap_or(host);
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let rest = ["dkr.ecr.", "dkr-ecr.", "dkr.ecr-fips.", "dkr-ecr-fips."]
            .iter()
            .find_map(|service| rest.strip_prefix(service))?;
        let (region, suffix) = rest.split_once('.')?;
        let well_formed = !region.is_empty()
            && region
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let (_, plain, dual_stack) = partition_row(region);
        let ours = suffix == plain || Some(suffix) == dual_stack;
        (well_formed && ours).then(|| Self {
            account: account.to_owned(),
            region: region.to_owned(),
        })
    }

    /// The standard host name of the registry.
    pub fn name(&self) -> String {
        format!(
            "{}.dkr.ecr.{}.{}",
            self.account,
            self.region,
            partition_row(&self.region).1
        )
    }

    /// The ARN of a repository in this registry.
    pub fn repository_arn(&self, repository: &str) -> String {
        let Self { account, region } = self;
        format!(
            "arn:{}:ecr:{region}:{account}:repository/{repository}",
            partition(region)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_form_names_its_registry() {
        for (host, region) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1"),
            (
                "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
                "us-east-1",
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "cn-north-1",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            (
                "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "eusc-de-east-1",
            ),
            (
                "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
                "us-isof-south-1",
            ),
            (
                "123456789012.dkr.ecr.test-land-17.amazonaws.com",
                "test-land-17",
            ),
        ] {
            let expected = EcrHost {
                account: "123456789012".into(),
                region: region.into(),
            };
            assert_eq!(EcrHost::parse(host), Some(expected), "{host}");
        }
    }

    #[test]
    fn look_alike_hosts_name_no_registry() {
        for host in [
            "",
            "127.0.0.1:5000",
            "dkr.ecr.us-east-1.amazonaws.com",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:5000",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.US-EAST-1.amazonaws.com",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host}");
        }
    }

    #[test]
    fn standard_name_has_the_partitions_suffix() {
        let name = |region: &str| {
            EcrHost {
                account: "123456789012".into(),
                region: region.into(),
            }
            .name()
        };
        assert_eq!(
            name("cn-north-1"),
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(
            name("us-iso-east-1"),
            "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov"
        );
        assert_eq!(
            name("us-east-1"),
            "123456789012.dkr.ecr.us-east-1.amazonaws.com"
        );
    }
}
