//! Pull secrets for Amazon ECR, made just in time.
//!
//! A pod that names an image in a private ECR registry gets its `imagePullSecrets` and a fresh
//! pull Secret in its namespace while the API server still holds its breath. This crate is the
//! shell: it listens, watches, asks AWS and writes. What it decides is decided in
//! [`ecr_pull_secrets_core`], which cannot do any of that.
//!
//! To follow one admission, read [`https::listener`], [`admission::http`], [`admission::handler`]
//! and [`pull_secret::ensure`], in this order. To see how everything hangs together, read [`run`].

pub mod admission;
pub mod aws;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod engine;
pub mod exit;
pub mod https;
pub mod leader;
pub mod probes;
pub mod pull_secret;
pub mod run;
pub mod telemetry;
pub mod token;
