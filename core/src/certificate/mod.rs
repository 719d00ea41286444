//! The serving certificate: its life.

pub mod life;
