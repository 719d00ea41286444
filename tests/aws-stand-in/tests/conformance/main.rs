//! Tests that the stand-in answers as AWS does: with raw signed calls for the wire format, and with the real SDK.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy exempts only functions marked as tests, not their shared functions"
)]

mod admin;
mod aws_sdk;
mod ecr;
mod faults;
mod oidc;
mod process;
mod pulls;
mod registry;
mod sts;
mod support;
mod uploads;
mod web_identity;
