//! AWS for tests: ECR's `GetAuthorizationToken`, STS, and the registry that asks for the token.
//!
//! One plain HTTP/1.1 listener plays all three, so that a test can follow a credential from the signed call that mints
//! it to the pull that spends it. It is meant to be as unforgiving as the real services: signatures are recomputed,
//! sessions expire, roles check who assumes them, and a token opens the registries of one region for one principal.
//!
//! - [`serve`] runs it inside a test, the `aws-stand-in` binary runs it as a process.
//! - [`client::Client`] is the typed way to set faults, clocks and policies, and to count calls. Below it is a JSON API
//!   under `/admin/`, whose bodies are the types in [`spec`].
//! - Tests that run side by side share one stand-in and own a *region* each: every fault, clock, policy and count can
//!   be limited to one. An unsigned call (`AssumeRoleWithWebIdentity`) names no region; use the endpoint
//!   `http://…/in/REGION/` for those.
//!
//! It never writes a credential to a log. The only way to read one back is `GET /admin/secrets`, made so that a test can
//! search other programs' output for them.

mod admin;
mod admin_query;
mod api;
mod authenticate;
mod calls;
pub mod client;
mod clock;
mod ecr;
mod ecr_host;
mod encoding;
mod faults;
mod glob;
mod identity;
mod image;
mod oci_layout;
mod policy;
mod registry;
mod registry_auth;
mod server;
mod sigv4;
pub mod spec;
mod state;
mod sts;
mod sts_checks;
mod token;
mod web_identity;
mod wire;

pub use ecr_host::EcrHost;
pub use server::{Handle, serve};
pub use sigv4::{Signable, sign};

/// The account that exists from the start.
pub const DEFAULT_ACCOUNT: &str = "123456789012";
/// The user that exists from the start, with every right.
pub const DEFAULT_ARN: &str = "arn:aws:iam::123456789012:user/default";
/// The default user's access key: the published example of AWS's signature test suite.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
/// The default user's secret key: the published example of AWS's signature test suite.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
