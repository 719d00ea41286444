//! An image reference, and the ECR host in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::reference::check(bytes));
