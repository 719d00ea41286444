//! The image reference, and its ECR host.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::reference::check(bytes));
