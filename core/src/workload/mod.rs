//! A pod, as far as it decides: the [view](pod) of it, the one decision ([`plan`]), and what the
//! leader makes of that for a stored pod ([`standing`]).

mod lists;
pub(crate) mod object;
pub mod plan;
pub mod pod;
pub mod standing;
pub mod text;
