//! An admission review, up to the patched pod.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ecr_pull_secrets_fuzz::review::check(bytes));
