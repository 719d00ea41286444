//! A second implementation of the rules, to compare with. It uses nothing of this crate but its
//! arguments, because the fuzz targets include it as well.

use super::Reference;

/// The text that `reference` was parsed from, unless a part was lost. The grammar adds a default domain and renames
/// another; both are undone here.
pub(super) fn recomposed(reference: &Reference<'_>, text: &str) -> String {
    let mut whole = match reference.domain() {
        "" => String::new(),
        "docker.io" if text.starts_with("index.docker.io/") => "index.docker.io/".to_owned(),
        "docker.io" if !text.starts_with("docker.io/") => String::new(),
        domain => format!("{domain}/"),
    };
    whole += reference.repository();
    for (sign, part) in [(':', reference.tag()), ('@', reference.digest())] {
        if let Some(part) = part {
            whole.push(sign);
            whole += part;
        }
    }
    whole
}

/// The ECR rule written from the documentation, with labels instead of prefixes.
pub(super) fn is_ecr_by_labels(host: &str) -> bool {
    let name = host.strip_suffix(":443").unwrap_or(host);
    if ["public.ecr.aws", "ecr-public.aws.com"].contains(&name) {
        return true;
    }
    let labels: Vec<&str> = name.split('.').collect();
    let (account, service) = match &labels[..] {
        [account, "dkr", "ecr" | "ecr-fips", service @ ..] => (account, service),
        [account, "dkr-ecr" | "dkr-ecr-fips", service @ ..] => (account, service),
        _ => return false,
    };
    let Some((region, suffix)) = service.split_first() else {
        return false;
    };
    let parts: Vec<&str> = region.split('-').collect();
    let (number, words) = parts.split_last().unwrap();
    let all =
        |text: &str, set: &str| !text.is_empty() && text.chars().all(|symbol| set.contains(symbol));
    let letters = "abcdefghijklmnopqrstuvwxyz";
    let suffixes: &[&str] = match words {
        ["cn", ..] => &["amazonaws.com.cn", "on.amazonwebservices.com.cn"],
        ["eusc", ..] => &["amazonaws.eu"],
        ["us", "iso", ..] => &["c2s.ic.gov"],
        ["us", "isob", ..] => &["sc2s.sgov.gov"],
        ["eu", "isoe", ..] => &["cloud.adc-e.uk"],
        ["us", "isof", ..] => &["csp.hci.ic.gov"],
        _ => &["amazonaws.com", "on.aws"],
    };
    account.chars().count() == 12
        && all(account, "0123456789")
        && all(number, "0123456789")
        && region.len() <= 63
        && words.len() >= 2
        && words[0].len() >= 2
        && words.iter().all(|word| all(word, letters))
        && suffixes.contains(&suffix.join(".").as_str())
}
