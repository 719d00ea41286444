//! What AWS and its environment may hand over: values of keys and variables, addresses, answers.

pub mod address;
pub mod answer;
pub mod codes;
pub mod regions;
pub mod reloads;
pub mod sts_place;
pub mod value;
pub mod variables;
pub mod web_identity;
