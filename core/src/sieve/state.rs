//! Where in a value the sieve is.

use std::sync::Arc;

use super::keep::Keep;
use super::scan::Scan;

/// An object or a list of which something is kept.
#[derive(Debug)]
pub(super) struct OpenValue {
    pub(super) keep: Arc<Keep>,
    pub(super) is_list: bool,
    pub(super) is_item: bool,
    /// A field or an element of it stands in `kept`.
    pub(super) has_any: bool,
    /// It is kept because of one of them.
    pub(super) is_worth: bool,
    pub(super) start: ValueStart,
}

/// The beginning of a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ValueStart {
    /// Where its comma or its name begins in `kept`.
    pub(super) at: usize,
    /// Whether its bytes count against the room of the item.
    pub(super) is_charged: bool,
}

/// The value that comes next, or is being read as a whole.
#[derive(Debug, Default)]
pub(super) struct NextValue {
    pub(super) keep: Option<Arc<Keep>>,
    pub(super) start: ValueStart,
}

/// What the next byte belongs to.
#[derive(Debug)]
pub(super) enum Place {
    /// The beginning of a value.
    Value,
    /// The beginning of an element, or the end of the list.
    Element,
    /// The beginning of a name, or the end of the object.
    Field,
    /// A name, maybe after a backslash.
    Name { escaped: bool },
    /// Between a name and its value.
    Colon,
    /// After a value.
    Comma,
    /// A value that is read as a whole.
    Whole(Scan, Fate),
}

/// What becomes of a value that is read as a whole.
#[derive(Debug)]
pub(super) enum Fate {
    Skip,
    /// It is kept if it has at most this many bytes more, and is worth its object or not.
    Copy {
        most: usize,
        is_worth: bool,
    },
    /// It is kept if the [`Keep::OneOf`] has it.
    Compare(Arc<Keep>),
    /// Something else stands for it.
    Replaced,
}
