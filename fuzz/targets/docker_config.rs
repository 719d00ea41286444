//! A docker config of another writer, merged with our entries.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::docker_config::check(bytes));
