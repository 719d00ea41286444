//! The configuration file.

use ecr_pull_secrets_core::config::Config;

/// A file is refused with a message, or `--print-config` prints a file with the same meaning.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty());
            return;
        }
    };
    let printed = config.to_yaml().unwrap();
    let again = Config::parse(&printed).unwrap_or_else(|error| panic!("{printed}\n{error}"));
    assert_eq!(format!("{again:?}"), format!("{config:?}"), "{printed}");
    assert_eq!(again.to_yaml().unwrap(), printed);
}
