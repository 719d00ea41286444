//! An admission review without HTTP: bytes to a review, and a plan to the bytes of an answer.

pub mod patch;
pub mod review;
