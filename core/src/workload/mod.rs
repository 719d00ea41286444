//! A pod, as far as it decides: the [view](pod) of it, whether its [claim] on the pull Secret counts,
//! the one decision ([`plan`]), and what the leader makes of that for a stored pod ([`standing`]).
//! Beside that, which missed pods it may delete ([`recreation`]), and which reports about pods wait
//! ([`backlog`]); how missed ones are reported ([`missed`]), and when a list of all pods comes early
//! because some were not ([`early_sweeps`]).

pub mod backlog;
pub mod claim;
pub mod early_sweeps;
mod lists;
pub mod missed;
pub(crate) mod object;
pub mod plan;
pub mod pod;
pub mod recreation;
pub mod standing;
pub mod text;
mod uses;
