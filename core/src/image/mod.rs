//! From the text of an `image:` field to the registry that serves it.
//!
//! There are two steps, both pure and total. [`mod@reference`] parses the text by the kubelet's own
//! grammar. [`ecr`] decides whether its host is an Amazon ECR registry, and which one. Pod authors
//! choose the text, so this module does not trust it. A malformed text, a foreign host or a
//! look-alike of ECR is *not ours*, never an error that could stop a pod. Every region or account
//! that leaves this module has passed the whole rule.

pub mod ecr;
pub mod reference;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub(crate) use ecr::is_region;
pub use ecr::{Endpoint, Partition, Registry};
pub use reference::{InvalidReference, Reference};
