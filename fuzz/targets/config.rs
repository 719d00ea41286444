//! The configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::config::check(bytes));
