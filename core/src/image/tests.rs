//! The table of hosts, and cases beyond it.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::{Endpoint, InvalidReference, Partition, Reference, Registry};

const TABLE: &str = include_str!("../../../tests/fixtures/ecr-hosts.tsv");

struct Row {
    image: String,
    host: Option<&'static str>,
    account: Option<&'static str>,
    region: Option<&'static str>,
    flavour: &'static str,
}

fn rows() -> Vec<Row> {
    let present = |field: &'static str| (field != "-").then_some(field);
    let row = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [image, host, account, region, flavour, _note] = fields[..] else {
            panic!("not six fields: {line}");
        };
        Row {
            image: unescape(image),
            host: present(host),
            account: present(account),
            region: present(region),
            flavour,
        }
    };
    TABLE.lines().skip(1).map(row).collect()
}

/// The table escapes as JSON the bytes that a TSV cannot have; it has no quotes.
fn unescape(field: &str) -> String {
    serde_json::from_str(&format!("\"{field}\"")).unwrap()
}

pub(super) fn hosts() -> Vec<&'static str> {
    rows().iter().filter_map(|row| row.host).collect()
}

#[test]
fn table_is_complete() {
    let flavours = |flavour: &str| rows().iter().filter(|row| row.flavour == flavour).count();
    assert_eq!(rows().len(), 122);
    assert_eq!(
        [
            flavours("private"),
            flavours("lookalike"),
            flavours("invalid")
        ],
        [27, 37, 24]
    );
}

#[test]
fn table_rows_have_their_registries() {
    for row in rows() {
        let registry = Registry::of_image(&row.image);
        let registry = registry.as_ref();
        assert_eq!(
            registry.map(Registry::host),
            row.host,
            "host of {:?}",
            row.image
        );
        assert_eq!(
            registry.and_then(Registry::account),
            row.account,
            "account of {:?}",
            row.image
        );
        assert_eq!(
            registry.map(Registry::region),
            row.region,
            "region of {:?}",
            row.image
        );

        let flavour = registry.map(|registry| (registry.is_public(), registry.endpoint()));
        let expected = match row.flavour {
            "private" => Some((false, Endpoint::Standard)),
            "private-fips" => Some((false, Endpoint::Fips)),
            "dualstack" => Some((false, Endpoint::DualStack)),
            "dualstack-fips" => Some((false, Endpoint::DualStackFips)),
            "public" => Some((true, Endpoint::Standard)),
            "public-dualstack" => Some((true, Endpoint::DualStack)),
            "lookalike" | "none" | "invalid" => None,
            other => panic!("unknown flavour {other}"),
        };
        assert_eq!(flavour, expected, "flavour of {:?}", row.image);
    }
}

#[test]
fn only_invalid_rows_fail_to_parse() {
    for row in rows() {
        let reference = Reference::parse(&row.image);
        assert_eq!(
            reference.is_err(),
            row.flavour == "invalid",
            "{:?}: {reference:?}",
            row.image
        );
    }
}

#[test]
fn partition_follows_from_the_region() {
    for (region, suffix, partition) in [
        ("us-east-1", "amazonaws.com", Partition::Aws),
        ("lala-land-1", "on.aws", Partition::Aws),
        ("us-gov-west-1", "amazonaws.com", Partition::AwsUsGov),
        ("us-gov-west-1", "on.aws", Partition::AwsUsGov),
        ("cn-north-1", "amazonaws.com.cn", Partition::AwsCn),
        (
            "cn-north-1",
            "on.amazonwebservices.com.cn",
            Partition::AwsCn,
        ),
        ("us-iso-east-1", "c2s.ic.gov", Partition::AwsIso),
        ("us-isob-east-1", "sc2s.sgov.gov", Partition::AwsIsoB),
        ("eu-isoe-west-1", "cloud.adc-e.uk", Partition::AwsIsoE),
        ("us-isof-south-1", "csp.hci.ic.gov", Partition::AwsIsoF),
        ("eusc-de-east-1", "amazonaws.eu", Partition::AwsEusc),
    ] {
        let host = format!("123456789012.dkr.ecr.{region}.{suffix}");
        assert_eq!(
            Registry::of_host(&host).map(|host| host.partition()),
            Some(partition),
            "{host}"
        );
    }
}

#[test]
fn suffix_of_another_partition_is_not_ours() {
    let regions = [
        ("us-east-1", ["amazonaws.com", "on.aws"]),
        ("us-gov-west-1", ["amazonaws.com", "on.aws"]),
        (
            "cn-north-1",
            ["amazonaws.com.cn", "on.amazonwebservices.com.cn"],
        ),
        ("us-iso-east-1", ["c2s.ic.gov"; 2]),
        ("us-isob-east-1", ["sc2s.sgov.gov"; 2]),
        ("eu-isoe-west-1", ["cloud.adc-e.uk"; 2]),
        ("us-isof-south-1", ["csp.hci.ic.gov"; 2]),
        ("eusc-de-east-1", ["amazonaws.eu"; 2]),
    ];
    for (region, own) in regions {
        for suffix in regions.iter().flat_map(|(_, suffixes)| suffixes) {
            let host = format!("123456789012.dkr.ecr.{region}.{suffix}");
            assert_eq!(
                Registry::of_host(&host).is_some(),
                own.contains(suffix),
                "{host}"
            );
        }
    }
}

#[test]
fn region_is_checked_for_form_and_length() {
    let of_region = |region: &str| {
        Registry::of_host(&format!("123456789012.dkr.ecr.{region}.amazonaws.com")).is_some()
    };
    for region in [
        "us-east-1",
        "us-north-east-10",
        &format!("{}-a-1", "a".repeat(59)),
    ] {
        assert!(of_region(region), "{region}");
    }
    for region in [
        "",
        "-",
        "us",
        "us-1",
        "us-east",
        "u-east-1",
        "us-east-",
        "-east-1",
        "us--1",
        "us-east--1",
        "us--east-1",
        "us-e4st-1",
        "us-east-1a",
        "us-east-١",
        "us-ea\u{17f}t-1",
        "us-east-1\n",
        "us-gov-",
        "9s-east-1",
        &format!("{}-a-1", "a".repeat(60)),
    ] {
        assert!(!of_region(region), "{region}");
    }
}

#[test]
fn registries_with_equal_hosts_are_equal() {
    let text = "123456789012.dkr.ecr.us-east-1.amazonaws.com:443";
    let [registry, twin] = [text, text].map(|host| Registry::of_host(host).unwrap());
    assert!(std::ptr::eq(registry.host(), registry.clone().host()));
    assert_eq!(registry, twin);
    assert_eq!(HashSet::from([registry.clone(), twin]).len(), 1);
    assert_eq!(
        (registry.to_string(), format!("{registry:?}")),
        (text.into(), format!("{text:?}"))
    );

    let without_port = Registry::of_host(registry.host().strip_suffix(":443").unwrap()).unwrap();
    assert_ne!(registry, without_port);
    // A constant hash would be legal, but would turn every map into a list.
    let hash =
        |registry| BuildHasherDefault::<DefaultHasher>::default().hash_one::<&Registry>(registry);
    assert_ne!(hash(&registry), hash(&without_port));
    assert!(without_port < registry);
}

#[test]
fn url_or_pattern_is_not_an_auths_key() {
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    assert!(Registry::of_host(host).is_some());
    for key in [
        format!("https://{host}"),
        format!("{host}/"),
        format!("{host}/v2/"),
        format!("{host}/app"),
        format!("{host}:443:443"),
        format!("{host}:80"),
        format!("{host}:"),
        format!("{host}."),
        format!(" {host}"),
        format!("{host} "),
        format!("*{}", &host[12..]),
        String::new(),
    ] {
        assert!(Registry::of_host(&key).is_none(), "{key:?}");
    }
}

#[test]
fn invalid_reference_reports_its_flaw() {
    use InvalidReference::*;
    let tag = "t".repeat(128);
    let hub = "a".repeat(247);
    let hex = "a".repeat(64);
    for (text, expected) in [
        ("", Some(Empty)),
        (hex.as_str(), Some(ImageId)),
        ("ho_st:1/app", Some(Domain)),
        ("-host.example/app", Some(Domain)),
        ("host.:1/app", Some(Domain)),
        ("host:/app", Some(Domain)),
        ("[::1]5000/app", Some(Domain)),
        ("[]:1/app", Some(Domain)),
        ("[]/app", Some(Repository)),
        ("[::1/app", Some(Domain)),
        ("[::1%25lo]/app", Some(Domain)),
        ("host.example/", Some(EmptyRepository)),
        (":tag", Some(EmptyRepository)),
        ("host.example/App", Some(UpperCase)),
        ("App", Some(UpperCase)),
        ("a..b", Some(Repository)),
        ("a___b", Some(Repository)),
        ("a._b", Some(Repository)),
        ("a-_b", Some(Repository)),
        ("a-", Some(Repository)),
        ("-a", Some(Repository)),
        ("/a", Some(Repository)),
        ("a//b", Some(Repository)),
        ("host.example/a:b/c", Some(Repository)),
        ("a/", Some(Repository)),
        ("a b", Some(Repository)),
        ("ä", Some(Repository)),
        (&format!("{hub}a"), Some(RepositoryTooLong)),
        ("a:", Some(Tag)),
        ("a:.b", Some(Tag)),
        ("a:b:c", Some(Tag)),
        ("a:б", Some(Tag)),
        (&format!("a:{tag}t"), Some(TagTooLong)),
        ("a@", Some(Digest)),
        ("a@sha256", Some(Digest)),
        (&format!("a@sha512:{hex}"), Some(Digest)),
        (&format!("a@sha256:{hex}@"), Some(Digest)),
        (&format!("a@sha256:{}A", "a".repeat(63)), Some(Digest)),
        // Valid texts close to the invalid ones.
        (&hex[1..], None),
        (&hub, None),
        (&format!("h.io/{}", "a".repeat(255)), None),
        ("[fe80::1]:5000/app", None),
        ("[::1]/app", None),
        ("HOST/app", None),
        ("host:0/app", None),
        ("a---b.c_d__e", None),
        (&format!("a:{tag}"), None),
        ("a:_.-", None),
        (&format!("a@sha384:{}", "b".repeat(96)), None),
    ] {
        assert_eq!(Reference::parse(text).err(), expected, "{text:?}");
    }
}

#[test]
fn docker_hub_is_the_default_domain() {
    for (text, domain, repository) in [
        ("nginx", "docker.io", "nginx"),
        ("host.example", "docker.io", "host.example"),
        ("host.example:443", "docker.io", "host.example"),
        ("user/app", "docker.io", "user/app"),
        ("index.docker.io/nginx", "docker.io", "nginx"),
        ("index.docker.io/user/app", "docker.io", "user/app"),
        ("localhost/app", "localhost", "app"),
        ("registry:5000/app", "registry:5000", "app"),
        ("Registry/app", "Registry", "app"),
        ("my_host.example/app", "", "my_host.example/app"),
    ] {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(
            (reference.domain(), reference.repository()),
            (domain, repository),
            "{text}"
        );
    }
}
