//! The environment variables of the AWS SDK: checked before a call uses them.

use std::env;
use std::io;

use aws_config::SdkConfig;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_types::service_config::ServiceConfigKey;
use ecr_pull_secrets_core::aws::value::InvalidValue;
use ecr_pull_secrets_core::aws::variables::{self, Use};
use ecr_pull_secrets_core::cause::Cause;
use http::Uri;
use tracing::warn;

use super::http::AwsHttp;

/// A variable that a call would use and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0}")]
pub(super) struct InvalidSetting(pub(super) InvalidValue);

/// A file that a setting names and that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the file of {name}")]
pub(super) struct FileError {
    /// The setting.
    pub(super) name: String,
    pub(super) source: io::Error,
}

/// Whether environment or profile give a service an endpoint. It excludes those with FIPS and IPv6.
pub(super) fn has_endpoint(config: &SdkConfig, service: &str) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let of_service = config
        .service_config()
        .zip(key.ok())
        .and_then(|(settings, key)| settings.load_config(key));
    of_service.is_some() || config.endpoint_url().is_some()
}

/// Whether a program of this name is on the path.
pub(super) fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// The value of a variable; `None` where it is empty.
pub(super) fn variable(name: &str) -> Option<String> {
    set(name).filter(|value| !value.is_empty())
}

/// The value of a variable that is set. What is not Unicode becomes a character that no valid value
/// has.
fn set(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Checks what a call is about to use.
///
/// # Errors
///
/// [`InvalidSetting`] names the variable.
pub(super) fn check(used: Use) -> Result<(), InvalidSetting> {
    variables::check(used, set).map_err(InvalidSetting)
}

/// Warns of each use whose variables are misspelt, at the start: the first call may come much later.
pub(super) fn report() {
    for used in Use::ALL {
        if let Err(invalid) = check(used) {
            let cause = Cause::AwsSettingsInvalid;
            let (detail, remedy) = (invalid.to_string(), cause.remedy());
            warn!(
                cause = cause.name(),
                detail, remedy, "an AWS variable is misspelt"
            );
        }
    }
}

/// The HTTP client with the proxies of the environment.
pub(super) fn http_client() -> AwsHttp {
    // The SDK sends tokens to these in the clear, and only if they are on this machine.
    let own = [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ];
    let hosts = own.into_iter().filter_map(|name| {
        let uri: Uri = variable(name)?.parse().ok()?;
        let is_plain = uri.scheme_str() == Some("http");
        uri.host().filter(|_| is_plain).map(str::to_owned)
    });
    AwsHttp::new(ProxyConfig::from_env(), hosts)
}
