//! The last good configuration, as the replicas keep it for a start at which the file is invalid: one
//! key of the token store.

use super::Config;

/// The data key of the token store's first Secret. A replica that does not know it ignores it.
pub const KEPT_KEY: &str = "config.yaml";
/// The longest configuration that is kept, in bytes. A thousand rules take some 200 KiB; the Secret
/// takes 1 MiB, and the tokens in it 150 KiB.
const MAX_KEPT_BYTES: usize = 512 * 1024;

impl Config {
    /// The value to keep: the file with every default, without its comments. `None` where it is too
    /// long.
    pub fn to_keep(&self) -> Option<Vec<u8>> {
        let yaml = self.to_yaml().ok()?;
        (yaml.len() <= MAX_KEPT_BYTES).then(|| yaml.into_bytes())
    }

    /// The configuration that was kept; `None` where this version cannot use it.
    pub fn of_kept(value: &[u8]) -> Option<Self> {
        let yaml = std::str::from_utf8(value).ok()?;
        Self::parse(yaml).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_configuration_is_the_one_in_force() {
        let yaml = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nselection: opt-in\n\
                    rules: [{namespaces: [team-*], deny: {}}, {ambient: {}}]\n";
        let config = Config::parse(yaml).unwrap();
        let kept = Config::of_kept(&config.to_keep().unwrap()).unwrap();
        assert_eq!(kept.to_yaml().unwrap(), config.to_yaml().unwrap());
    }

    #[test]
    fn configuration_that_is_too_long_is_not_kept() {
        let rule = format!("- {{namespaces: [{}], deny: {{}}}}\n", "n".repeat(60));
        let rules = rule.repeat(MAX_KEPT_BYTES / 60);
        let yaml = format!("apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nrules:\n{rules}");
        assert!(Config::parse(&yaml).unwrap().to_keep().is_none());
    }

    #[test]
    fn foreign_content_is_not_used() {
        for value in [b"".as_slice(), b"\xff", b"kind: Other", b"rules: 1"] {
            assert!(Config::of_kept(value).is_none());
        }
    }
}
