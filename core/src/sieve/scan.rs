//! The end of a JSON value, whatever is in it.

use std::mem;

/// Finds the end of a value.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// How many of the bytes belong to the value, and whether it ends there.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_text {
                if mem::take(&mut self.escaped) {
                    at += 1;
                    continue;
                }
                let rest = &bytes[at..];
                let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                    break;
                };
                at += stop + 1;
                self.escaped = rest[stop] == b'\\';
                self.in_text = self.escaped;
                if !self.in_text && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return (at + 1, true),
                // A number, true, false or null ends before this byte.
                b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    return (at, true);
                }
                _ => {}
            }
            at += 1;
        }
        (bytes.len(), false)
    }
}
