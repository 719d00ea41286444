//! What people read in a Rust or Go file: comments, string literals and declared names.
//!
//! Not a full lexer: it tells code from text. A mistake would show as prose made of code, or the other way round.

/// A stretch of text, with the line it starts on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    /// Without comment marks; line breaks are those of the file.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A comment, or a paragraph of a document.
    Prose,
    /// A literal, or a line of something that is not prose.
    Text,
    /// Name of a function, a type, a module or a constant.
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Go,
}

impl Language {
    fn declares(self, keyword: &str) -> bool {
        match self {
            Self::Rust => [
                "fn", "struct", "enum", "trait", "type", "mod", "const", "static", "union",
            ]
            .contains(&keyword),
            Self::Go => ["func", "type", "const", "var"].contains(&keyword),
        }
    }
}

/// Splits a source file.
pub(crate) fn pieces(source: &str, language: Language) -> Vec<Piece> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        language,
        pieces: Vec::new(),
    };
    lexer.run();
    lexer.pieces
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    language: Language,
    pieces: Vec<Piece>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        // Whether the next identifier is a declared name, and whether only white space came since the last comment.
        let (mut declares, mut after_comment) = (false, false);
        while let Some(byte) = self.byte(0) {
            match byte {
                b'/' if self.byte(1) == Some(b'/') => {
                    self.line_comment(after_comment);
                    after_comment = true;
                    continue;
                }
                b'/' if self.byte(1) == Some(b'*') => self.block_comment(),
                b'"' => self.string(),
                b'`' if self.language == Language::Go => self.until("`", 1, 0),
                b'\'' => self.quote(),
                b if b.is_ascii_alphabetic() || b == b'_' => {
                    if !self.raw_string() {
                        declares = self.identifier(declares);
                        after_comment = false;
                        continue;
                    }
                }
                b if b.is_ascii_whitespace() => {
                    self.skip(1);
                    continue;
                }
                // The receiver of a method in Go.
                b'(' if declares && self.language == Language::Go => {
                    let length = self.rest().find(')').unwrap_or(0);
                    self.skip(length + 1);
                    after_comment = false;
                    continue;
                }
                _ => self.skip(1),
            }
            (declares, after_comment) = (false, false);
        }
    }

    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    /// Goes on by some bytes, at least up to the next character.
    fn skip(&mut self, length: usize) {
        let mut end = (self.at + length).min(self.source.len());
        while !self.source.is_char_boundary(end) {
            end += 1;
        }
        let passed = &self.source.as_bytes()[self.at..end];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at = end;
    }

    /// Adds a line to the comment before if only white space is between them.
    fn line_comment(&mut self, continues: bool) {
        let end = self.rest().find('\n').unwrap_or(self.rest().len());
        let text = self.rest()[..end].trim_start_matches(['/', '!']).to_owned();
        let line = self.line;
        self.skip(end);
        if continues
            && let Some(last) = self.pieces.last_mut()
            && last.kind == Kind::Prose
        {
            let next = last.line + last.text.matches('\n').count() + 1;
            last.text
                .extend(std::iter::repeat_n('\n', (line + 1).saturating_sub(next)));
            last.text.push_str(&text);
            return;
        }
        self.pieces.push(Piece {
            kind: Kind::Prose,
            line,
            text,
        });
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        let mut length = 0;
        let rest = self.rest().as_bytes();
        while length < rest.len() {
            if rest[length..].starts_with(b"/*") {
                depth += 1;
                length += 2;
            } else if rest[length..].starts_with(b"*/") {
                depth -= 1;
                length += 2;
                if depth == 0 {
                    break;
                }
            } else {
                length += 1;
            }
        }
        self.push(Kind::Prose, 2, length.saturating_sub(2), length);
    }

    /// A string with escapes, each of which becomes spaces.
    fn string(&mut self) {
        let (line, start) = (self.line, self.at + 1);
        let bytes = self.source.as_bytes();
        let mut end = start;
        let mut text = Vec::new();
        while end < bytes.len() && bytes[end] != b'"' {
            if bytes[end] == b'\\' {
                text.push(b' ');
                end += 1;
                text.extend(
                    bytes
                        .get(end)
                        .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }),
                );
            } else {
                text.push(bytes[end]);
            }
            end += 1;
        }
        self.pieces.push(Piece {
            kind: Kind::Text,
            line,
            text: String::from_utf8_lossy(&text).into_owned(),
        });
        self.skip(end + 1 - self.at);
    }

    /// `r"…"`, `br#"…"#` and the like; false if the identifier here starts none. Also steps over `b` of `b"…"`.
    fn raw_string(&mut self) -> bool {
        if self.language == Language::Go {
            return false;
        }
        let prefix = self
            .rest()
            .bytes()
            .take_while(|byte| matches!(byte, b'b' | b'c' | b'r'))
            .count();
        let hashes = self.rest()[prefix..]
            .bytes()
            .take_while(|byte| *byte == b'#')
            .count();
        if prefix == 0 || prefix > 2 || self.byte(prefix + hashes) != Some(b'"') {
            return false;
        }
        if self.rest()[..prefix].contains('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            self.until(&end, prefix + hashes + 1, hashes);
        } else {
            self.skip(prefix);
            self.string();
        }
        true
    }

    /// A literal without escapes, from `start` to a mark of which `more` bytes follow its first one.
    fn until(&mut self, mark: &str, start: usize, more: usize) {
        let rest = self.rest();
        let end = rest
            .get(start..)
            .and_then(|inside| inside.find(mark))
            .map_or(rest.len(), |found| start + found);
        self.push(Kind::Text, start, end, end + 1 + more);
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize, length: usize) {
        let text = self.rest().get(start..end).unwrap_or("").to_owned();
        let line = self.line;
        self.pieces.push(Piece { kind, line, text });
        self.skip(length);
    }

    /// A character, or a lifetime.
    fn quote(&mut self) {
        let mut characters = self.rest().char_indices().skip(1);
        let length = match (characters.next(), characters.next()) {
            (Some((_, '\\')), Some((at, _))) => self
                .rest()
                .get(at + 1..)
                .and_then(|rest| rest.find('\''))
                .map(|end| at + end + 2),
            (Some(_), Some((at, '\''))) => Some(at + 1),
            _ => None,
        };
        self.skip(length.unwrap_or(1));
    }

    /// Whether the identifier announces a name.
    fn identifier(&mut self, is_declared: bool) -> bool {
        let end = self
            .rest()
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_owned();
        let line = self.line;
        self.skip(end);
        if self.language.declares(&word) {
            return true;
        }
        // `unsafe fn`, `static mut`, `const async fn`: the name is still to come.
        let is_modifier = ["mut", "async", "unsafe", "extern"].contains(&word.as_str());
        if is_declared && !is_modifier {
            self.pieces.push(Piece {
                kind: Kind::Name,
                line,
                text: words_of(&word),
            });
        }
        is_declared && is_modifier
    }
}

/// `APodThatWaits` and `a_pod_that_waits` as words.
pub(crate) fn words_of(name: &str) -> String {
    let mut words = String::new();
    let mut was_lower = false;
    for character in name.chars() {
        if was_lower && character.is_uppercase() {
            words.push(' ');
        }
        was_lower = character.is_lowercase() || character.is_ascii_digit();
        words.push(if character == '_' { ' ' } else { character });
    }
    words
}

#[cfg(test)]
mod tests;
