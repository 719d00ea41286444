//! Whether the stand-in answers as AWS does: raw signed calls for what is on the wire, and the real SDK from outside.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy exempts only functions marked as tests, not what they share"
)]

mod admin;
mod aws_sdk;
mod ecr;
mod faults;
mod process;
mod pulls;
mod registry;
mod sts;
mod support;
mod uploads;
mod web_identity;
