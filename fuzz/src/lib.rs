//! What must hold for any bytes, one module a fuzz target.
//!
//! `fuzz/targets` gives these functions to libFuzzer (`make fuzz`), and `core/tests/fuzz` includes
//! this file and gives them to proptest, on stable and with every other test. A function returns
//! if all is well, and panics otherwise.

pub mod config;
pub mod docker_config;
pub mod reference;
pub mod review;
