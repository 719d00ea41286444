//! A pod, as far as it decides: the view of it, and the decision.

pub mod pod;
