//! Which object, in which version, a write is based on.

/// An object as it was read: a write that carries both fails where the object was re-created or
/// changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
}
