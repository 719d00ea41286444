//! Which expiries the metric of the earliest one counts: those that this installation can postpone.

use crate::config::Config;

/// Whether a token for an entry can be had, as far as is known. A pod author chooses the region of
/// an image, and may have invented it: then no renewal helps. `has_token` says whether this replica
/// has a token for the entry, however old; `has_any`, whether it has one for any entry.
pub fn is_obtainable(config: &Config, region: &str, has_token: bool, has_any: bool) -> bool {
    // Without any token it is AWS that fails, and each entry counts.
    has_token || !has_any || config.names_region(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_region_does_not_count() {
        let yaml = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, \
                    rules: [{regions: [eu-west-1], ambient: {}}, {ambient: {}}]}";
        let named = Config::parse(yaml).unwrap();
        let plain = Config::default();
        let region = "eu-west-1";
        assert!(is_obtainable(&plain, region, true, true));
        assert!(!is_obtainable(&plain, region, false, true));
        assert!(is_obtainable(&plain, region, false, false), "AWS is down");
        assert!(is_obtainable(&named, region, false, true));
        assert!(!is_obtainable(&named, "land-1", false, true));
    }
}
