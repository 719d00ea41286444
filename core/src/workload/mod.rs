//! A pod, as far as it decides: the [view](pod) of it, whether its [claim] on the pull Secret counts,
//! the one decision ([`plan`]), and what the leader makes of that for a stored pod ([`standing`]).
//! Beside that, which missed pods it may delete ([`recreation`]), and which reports about pods wait
//! ([`backlog`]).

pub mod backlog;
pub mod claim;
mod lists;
pub(crate) mod object;
pub mod plan;
pub mod pod;
pub mod recreation;
pub mod standing;
pub mod text;
