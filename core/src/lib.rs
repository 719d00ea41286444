//! The pure core of ecr-pull-secrets: every decision, and no way to act on it.
//!
//! Nothing in this crate reads a file, opens a socket, asks for the time or runs on an async
//! runtime: its dependencies do not offer it, and a test keeps it so. What goes in are bytes,
//! parsed objects and points in time; what comes out are decisions, bytes and causes. The shell
//! around it (the crate `ecr-pull-secrets`) does the talking.
//!
//! The story of a pod, in file names: [`admission::review`] turns bytes into a view of the pod
//! ([`workload::pod`]), [`workload::plan`] decides with the help of [`image`], [`selection`] and
//! [`rules`], [`admission::patch`] holds the two possible patches, and [`pull_secret::revision`]
//! says what the Secret must hold, from tokens whose age [`token::lifetime`] and [`token::renewal`]
//! judge. Everything that goes wrong on the way is a [`cause::Cause`].

#![forbid(unsafe_code)]

pub mod admission;
pub mod aws;
pub mod backoff;
pub mod cause;
pub mod certificate;
pub mod config;
pub mod diagnosis;
pub mod election;
pub mod identity;
pub mod image;
pub mod names;
pub mod pull_secret;
pub mod rotation;
pub mod rules;
pub mod scrub;
pub mod selection;
pub mod shares;
pub mod sieve;
pub mod sync;
pub mod target;
pub mod token;
pub mod version;
pub mod workload;
