//! Properties that hold for any bytes, one module for each fuzz target.
//!
//! `fuzz/targets` runs these functions under libFuzzer (`make fuzz`). `core/tests/fuzz` includes
//! this file and runs them under proptest, on stable Rust with every other test. A function panics
//! if its property does not hold.

pub mod config;
pub mod docker_config;
pub mod reference;
pub mod review;
