//! From the text of an `image:` field to the registry that must let it through.
//!
//! Two steps, both pure and both total: [`mod@reference`] takes the text apart by the grammar that the
//! kubelet itself uses, and [`ecr`] says whether the host it names is an Amazon ECR registry, and
//! which. Pod authors choose the text, so nothing here trusts it: a text that is malformed, foreign
//! or merely looks like ECR is *not ours*, never an error that could stop a pod, and no region or
//! account leaves this module that has not passed the whole rule.

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
