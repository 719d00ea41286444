//! One admission review, without the HTTP around it: decode, decide, answer.

pub mod patch;
pub mod review;
