//! A sieve for JSON that arrives in pieces: it lets through the fields that decide, and nothing else.
//!
//! A tenant chooses how large an object is, up to what the API server takes, and its JSON can be six
//! times as large as what the API server stores. So no answer is held before it is read. A [`Sieve`]
//! holds the kept fields of one item at a time, each of them bounded in bytes, whatever the item's
//! size. What comes out is JSON again. What goes in is trusted to be the JSON of an API server: Go's
//! encoder writes each of the names and texts that are compared here in one way only.

mod keep;
mod scan;
mod state;

use std::mem;
use std::sync::Arc;

pub use self::keep::Keep;
use self::scan::Scan;
use self::state::{Fate, NextValue, OpenValue, Place, ValueStart};

/// The longest name or text that is compared, in bytes. An annotation's name has at most 317.
const MAX_COMPARED_BYTES: usize = 512;
/// The longest value of another type than expected that is kept, in bytes: null, or a short text.
const MAX_ODD_BYTES: usize = 256;

/// Bytes that are not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not JSON")]
pub struct NotJson;

/// A sieve for one answer, which is one JSON value or several in a row.
#[derive(Debug)]
pub struct Sieve {
    root: Arc<Keep>,
    /// What is kept and not yet handed out.
    kept: Vec<u8>,
    /// The length of the part of it that cannot be taken back any more.
    settled: usize,
    /// The kept objects and lists that are open.
    open: Vec<OpenValue>,
    /// The bytes that the elements and starred fields of the item may still get.
    room: usize,
    place: Place,
    next: NextValue,
    /// The name, or the text to compare, that is being read.
    text: Vec<u8>,
}

impl Sieve {
    /// Keeps this of each value of an answer.
    pub fn new(root: Arc<Keep>) -> Self {
        let next = NextValue {
            keep: Some(root.clone()),
            ..NextValue::default()
        };
        Self {
            root,
            kept: Vec::new(),
            settled: 0,
            open: Vec::new(),
            room: 0,
            place: Place::Value,
            next,
            text: Vec::new(),
        }
    }

    /// Takes the next piece of the answer, and returns what is certain to be kept. Each value ends in
    /// a line break.
    ///
    /// # Errors
    ///
    /// [`NotJson`]. The sieve is of no use after it.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, NotJson> {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let used = match self.place {
                Place::Whole(..) => self.read_whole(rest),
                Place::Name { .. } => self.read_name(rest),
                _ if is_space(byte) => 1,
                _ => usize::from(self.step(byte)?),
            };
            rest = &rest[used..];
        }
        Ok(self.take_settled())
    }

    /// The bytes of memory that the sieve holds.
    pub fn held_bytes(&self) -> usize {
        self.kept.capacity() + self.text.capacity()
    }

    fn take_settled(&mut self) -> Vec<u8> {
        let settled = mem::take(&mut self.settled);
        if settled == 0 {
            return Vec::new();
        }
        let rest = self.kept.split_off(settled);
        for start in self.open.iter_mut().map(|open| &mut open.start) {
            start.at = start.at.saturating_sub(settled);
        }
        self.next.start.at = self.next.start.at.saturating_sub(settled);
        mem::replace(&mut self.kept, rest)
    }

    /// Takes a byte outside names and whole values. Returns whether it is used up.
    fn step(&mut self, byte: u8) -> Result<bool, NotJson> {
        match (&self.place, byte) {
            (Place::Element | Place::Field | Place::Comma, b']' | b'}') => self.close(byte)?,
            (Place::Element, _) => {
                self.announce_element();
                self.place = Place::Value;
                return Ok(false);
            }
            (Place::Value, _) => return self.begin(byte),
            (Place::Field, b'"') => {
                self.text.clear();
                self.place = Place::Name { escaped: false };
            }
            (Place::Colon, b':') => self.place = Place::Value,
            (Place::Comma, b',') => {
                let is_list = self.open.last().is_some_and(|open| open.is_list);
                self.place = if is_list {
                    Place::Element
                } else {
                    Place::Field
                };
            }
            _ => return Err(NotJson),
        }
        Ok(true)
    }

    /// Begins a value. Returns whether its first byte is used up.
    fn begin(&mut self, byte: u8) -> Result<bool, NotJson> {
        if !matches!(
            byte,
            b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
        ) {
            return Err(NotJson);
        }
        let mut keep = self.next.keep.take();
        let mut is_item = false;
        if let Some(Keep::Item(inner, most)) = keep.as_deref() {
            is_item = true;
            self.room = *most;
            keep = Some(inner.clone());
        }
        let Some(keep) = keep else {
            self.place = Place::Whole(Scan::default(), Fate::Skip);
            return Ok(false);
        };
        let fate = match (&*keep, byte) {
            (Keep::Fields(_), b'{') | (Keep::Each(_), b'[') => {
                self.open(keep, byte, is_item);
                return Ok(true);
            }
            (Keep::Whole(most), _) => Fate::Copy {
                most: *most,
                is_worth: true,
            },
            (Keep::Beside(most), _) => Fate::Copy {
                most: *most,
                is_worth: false,
            },
            (Keep::Presence, _) => {
                self.kept.extend_from_slice(match byte {
                    b'"' => b"\"\"",
                    b'{' => b"{}",
                    b'[' => b"[]",
                    _ => b"null",
                });
                Fate::Replaced
            }
            (Keep::OneOf(_), _) => {
                self.text.clear();
                Fate::Compare(keep)
            }
            (Keep::Fields(_) | Keep::Each(_) | Keep::Item(..), _) => Fate::Copy {
                most: MAX_ODD_BYTES,
                is_worth: true,
            },
        };
        self.place = Place::Whole(Scan::default(), fate);
        Ok(false)
    }

    fn open(&mut self, keep: Arc<Keep>, byte: u8, is_item: bool) {
        let is_list = byte == b'[';
        self.kept.push(byte);
        self.open.push(OpenValue {
            keep,
            is_list,
            is_item,
            has_any: false,
            is_worth: is_list,
            start: self.next.start,
        });
        self.place = if is_list {
            Place::Element
        } else {
            Place::Field
        };
    }

    /// Takes bytes of a value that is read as a whole. Returns how many.
    fn read_whole(&mut self, bytes: &[u8]) -> usize {
        let Place::Whole(scan, fate) = &mut self.place else {
            return bytes.len();
        };
        let (used, is_over) = scan.take(bytes);
        let taken = &bytes[..used];
        match fate {
            Fate::Skip | Fate::Replaced => {}
            Fate::Copy { most, .. } if *most < used => {
                self.kept.truncate(self.next.start.at);
                *fate = Fate::Skip;
            }
            Fate::Copy { most, .. } => {
                *most -= used;
                self.kept.extend_from_slice(taken);
            }
            Fate::Compare(_) if self.text.len() + used > MAX_COMPARED_BYTES => *fate = Fate::Skip,
            Fate::Compare(_) => self.text.extend_from_slice(taken),
        }
        if is_over {
            let Place::Whole(_, fate) = mem::replace(&mut self.place, Place::Comma) else {
                return used;
            };
            self.end_whole(&fate);
        }
        used
    }

    fn end_whole(&mut self, fate: &Fate) {
        let start = self.next.start;
        match fate {
            Fate::Skip => self.end(start, false, false),
            Fate::Replaced => self.end(start, true, true),
            Fate::Copy { is_worth, .. } => self.end(start, true, *is_worth),
            Fate::Compare(keep) => {
                let is_one = matches!(&**keep, Keep::OneOf(texts) if texts.iter().any(|text| {
                    self.text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""))
                        == Some(text.as_bytes())
                }));
                if is_one {
                    self.kept.extend_from_slice(&self.text);
                }
                self.end(start, is_one, is_one);
            }
        }
    }

    /// Takes bytes of a name. Returns how many.
    fn read_name(&mut self, bytes: &[u8]) -> usize {
        let Place::Name { escaped } = &mut self.place else {
            return bytes.len();
        };
        for (index, &byte) in bytes.iter().enumerate() {
            if byte == b'"' && !*escaped {
                self.announce_field();
                self.place = Place::Colon;
                return index + 1;
            }
            *escaped = byte == b'\\' && !*escaped;
            // A name that is too long is like none.
            if self.text.len() <= MAX_COMPARED_BYTES {
                self.text.push(byte);
            }
        }
        bytes.len()
    }

    /// Decides about the field whose name was read.
    fn announce_field(&mut self) {
        let start = ValueStart {
            at: self.kept.len(),
            is_charged: false,
        };
        self.next = NextValue { keep: None, start };
        let (Some(open), true) = (self.open.last(), self.text.len() <= MAX_COMPARED_BYTES) else {
            return;
        };
        let Keep::Fields(fields) = &*open.keep else {
            return;
        };
        let named = |(name, _): &&(&'static str, Arc<Keep>)| name.as_bytes() == self.text;
        let starred = |(name, _): &&(&'static str, Arc<Keep>)| {
            let prefix = name.strip_suffix('*');
            prefix.is_some_and(|prefix| self.text.starts_with(prefix.as_bytes()))
        };
        let found = match fields.iter().find(named) {
            Some((_, keep)) => Some((keep, false)),
            None if self.room == 0 => None,
            None => fields.iter().find(starred).map(|(_, keep)| (keep, true)),
        };
        if let Some((keep, is_charged)) = found {
            self.next.keep = Some(keep.clone());
            self.next.start.is_charged = is_charged;
            if open.has_any {
                self.kept.push(b',');
            }
            self.kept.push(b'"');
            self.kept.extend_from_slice(&self.text);
            self.kept.extend_from_slice(b"\":");
        }
    }

    /// Decides about the element that comes next.
    fn announce_element(&mut self) {
        let start = ValueStart {
            at: self.kept.len(),
            is_charged: true,
        };
        self.next = NextValue { keep: None, start };
        let Some(open) = self.open.last() else {
            return;
        };
        if let Keep::Each(keep) = &*open.keep
            // An item brings its own room.
            && (self.room > 0 || matches!(&**keep, Keep::Item(..)))
        {
            self.next.keep = Some(keep.clone());
            if open.has_any {
                self.kept.push(b',');
            }
        }
    }

    fn close(&mut self, byte: u8) -> Result<(), NotJson> {
        let open = self.open.pop().ok_or(NotJson)?;
        if open.is_list != (byte == b']') {
            return Err(NotJson);
        }
        self.kept.push(byte);
        let is_kept = open.is_worth || self.open.is_empty();
        self.end(open.start, is_kept, is_kept);
        if open.is_item {
            self.room = 0;
            self.settled = self.kept.len();
        }
        Ok(())
    }

    /// Ends a value.
    fn end(&mut self, start: ValueStart, is_kept: bool, is_worth: bool) {
        if !is_kept {
            self.kept.truncate(start.at);
        } else if start.is_charged {
            let bytes = self.kept.len() - start.at;
            self.room = self.room.saturating_sub(bytes);
        }
        if let Some(open) = self.open.last_mut() {
            open.has_any |= is_kept;
            open.is_worth |= is_worth;
            self.place = Place::Comma;
            return;
        }
        if is_kept {
            self.kept.push(b'\n');
        }
        self.settled = self.kept.len();
        self.place = Place::Value;
        self.next = NextValue {
            keep: Some(self.root.clone()),
            start: ValueStart {
                at: self.kept.len(),
                is_charged: false,
            },
        };
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
