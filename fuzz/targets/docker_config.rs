//! A docker config that somebody else wrote, and our entries.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::docker_config::check(bytes));
