//! Rotation: when a token is renewed, which pull Secrets are written then, and how fast.
//!
//! The shell asks in this order: [`wanted`] says what pods and the configuration want, [`fate`] what
//! that means for an entry of a Secret, [`survey`] finds the keys in use and the stale Secrets,
//! [`schedule`] says which keys are due, [`pace`] how many writes run at a time, and [`pauses`] when
//! a Secret that could not be written is tried again.
//!
//! Ages of tokens follow the wall clock, which may be set at any time. Pauses follow a monotonic
//! clock: a `Duration` since some start, the same start for all calls.

pub mod fate;
pub mod keys;
pub mod pace;
pub mod pauses;
pub mod schedule;
pub mod survey;
pub mod wanted;
