//! AWS for tests: ECR's `GetAuthorizationToken`, STS, and the registry that requires the token.
//!
//! One plain HTTP/1.1 listener serves all three. A test can follow a credential from the signed call that mints it to
//! the pull that uses it. The stand-in is as strict as the real services: it recomputes signatures, sessions expire,
//! roles check their caller, and a token opens the registries of one region for one principal.
//!
//! - [`serve`] runs the stand-in inside a test; the `aws-stand-in` binary runs it as a process.
//! - [`client::Client`] is the typed way to set faults, clocks and policies, and to count calls. It uses a JSON API
//!   under `/admin/`, whose bodies are the types in [`spec`].
//! - Tests that run in parallel share one stand-in and own a *region* each: every fault, clock, policy and count can
//!   be limited to one region. An unsigned call (`AssumeRoleWithWebIdentity`) names no region; use the endpoint
//!   `http://…/in/REGION/` for it.
//!
//! Container credentials and instance metadata have no fixed address here: `http://…/credentials/NAME` and
//! `http://…/metadata/NAME/` are their endpoints, and NAME takes the part of the region.
//!
//! A web identity is verified as AWS does, with the keys of its issuer, once a test names an OIDC provider for that issuer
//! ([`spec::OidcProvider`]). [`issuer_host`] publishes the documents of an issuer.
//!
//! The stand-in never logs a credential. `GET /admin/secrets` is the only way to read one back, so that a test can
//! search the output of other programs for it.

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
mod hostile;
mod identity;
mod image;
pub mod issuer_host;
mod metadata;
mod oci_layout;
mod oidc;
mod oidc_documents;
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

/// Account that exists from the start.
pub const DEFAULT_ACCOUNT: &str = "123456789012";
/// User that exists from the start, with every right.
pub const DEFAULT_ARN: &str = "arn:aws:iam::123456789012:user/default";
/// Access key id of the default user: the published example of AWS's signature test suite.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
/// Secret access key of the default user: the published example of AWS's signature test suite.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
