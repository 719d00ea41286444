//! What a sieve keeps, as a tree.

use std::sync::Arc;

/// What of a JSON value is kept.
#[derive(Debug)]
pub enum Keep {
    /// The value as it stands, if it has at most this many bytes.
    Whole(usize),
    /// The same, but its object is not kept because of it alone.
    Beside(usize),
    /// That there is a value: an empty text, list or object takes its place, or null.
    Presence,
    /// A text, if it is one of these.
    OneOf(Vec<String>),
    /// These fields of an object, each by its name. A name that ends in `*` means every other field
    /// that begins like it, as far as the item has room.
    Fields(Vec<(&'static str, Arc<Keep>)>),
    /// Each element of a list, as far as the item has room. An element that is an object of which
    /// nothing is kept is left out.
    Each(Arc<Keep>),
    /// An item. Its elements and starred fields get this many bytes together, the last one of them
    /// may get more.
    Item(Arc<Keep>, usize),
}
