//! Addresses that only this machine can reach. No proxy can, and none may see what is sent there.

use core::net::{IpAddr, Ipv6Addr};

/// The addresses of EKS Pod Identity and of the metadata service on a node with IPv6 alone.
const METADATA: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
];

/// Whether a host is loopback or link-local, or one of AWS's addresses on the node. The host is as
/// in a URL: an IPv6 address may have brackets.
pub fn is_local(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    // A zone names the interface.
    let bare = bare.unwrap_or(host).split('%').next().unwrap_or_default();
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || METADATA.contains(&address)
        }
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_known() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "::1",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[fd00:ec2::23]",
            "[fd00:ec2::254]",
            "[::ffff:169.254.170.23]",
            "localhost",
            "LOCALHOST.",
            "aws.localhost",
        ] {
            assert!(is_local(host), "{host}");
        }
    }

    #[test]
    fn other_addresses_are_not_local() {
        for host in [
            "",
            "10.0.0.1",
            "169.253.1.1",
            "192.168.1.1",
            "[fd00:ec2::253]",
            "[fd00::1]",
            "[2001:db8::1]",
            "sts.amazonaws.com",
            "localhost.example.com",
            "notlocalhost",
            "169.254.170.23.example.com",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
