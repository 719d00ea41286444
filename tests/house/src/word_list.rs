//! `words.txt`: what is not written, what is written instead, and the exceptions.

use crate::failure::Failure;
use crate::prose::Token;

/// Path of the list in the repository.
pub(crate) const PATH: &str = "tests/house/words.txt";

/// The line between entries and exceptions.
const EXCEPTIONS: &str = "exceptions";

pub(crate) struct WordList {
    pub(crate) phrases: Vec<Phrase>,
    pub(crate) exceptions: Vec<Exception>,
}

/// One word or several in a row.
pub(crate) struct Phrase {
    pub(crate) words: Vec<String>,
    pub(crate) instead: String,
    at: Place,
    /// Words and marks before which it is allowed.
    unless: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Sentence,
    Comment,
}

/// Where a word stays.
pub(crate) struct Exception {
    pub(crate) path: String,
    /// Part of the line.
    pub(crate) part: String,
    pub(crate) line: usize,
}

impl WordList {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (mut phrases, mut exceptions) = (Vec::new(), Vec::new());
        let mut is_below = false;
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            let failure = |reason| Failure::WordList {
                path: PATH,
                line,
                reason,
            };
            let columns: Vec<&str> = text.split('|').map(str::trim).collect();
            match columns[..] {
                _ if text.is_empty() || text.starts_with('#') => {}
                [EXCEPTIONS] => is_below = true,
                [path, part, reason] if is_below => {
                    if path.is_empty() || part.is_empty() || reason.is_empty() {
                        return Err(failure(
                            "an exception has a path, a part of the line and a reason",
                        ));
                    }
                    exceptions.push(Exception {
                        path: path.to_owned(),
                        part: part.to_owned(),
                        line,
                    });
                }
                [words, instead] if !is_below && !instead.is_empty() => {
                    for phrase in words.split(',') {
                        let phrase = Phrase::parse(phrase, instead)
                            .ok_or_else(|| failure("an empty phrase"))?;
                        phrases.push(phrase);
                    }
                }
                _ => {
                    return Err(failure(
                        "want `words | instead`, or `path | part | reason` below `exceptions`",
                    ));
                }
            }
        }
        Ok(Self {
            phrases,
            exceptions,
        })
    }
}

impl Phrase {
    fn parse(text: &str, instead: &str) -> Option<Self> {
        let mut parts = text.split('!').map(str::trim);
        let text = parts.next()?;
        let (text, at) = match (text.strip_prefix('^'), text.strip_prefix("//")) {
            (Some(text), _) => (text, Place::Sentence),
            (_, Some(text)) => (text, Place::Comment),
            _ => (text, Place::Anywhere),
        };
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then(|| Self {
            words,
            instead: instead.to_owned(),
            at,
            unless: parts.map(str::to_owned).collect(),
        })
    }

    /// Whether it is written at this position of a text.
    pub(crate) fn is_at(&self, tokens: &[Token], at: usize) -> bool {
        let Some((before, rest)) = tokens.split_at_checked(at) else {
            return false;
        };
        let has_words = self.words.iter().enumerate().all(|(index, word)| {
            matches!(rest.get(index), Some(Token::Word { text, .. }) if text == word)
        });
        has_words
            && self.fits_after(before.last())
            && !self.is_excused_by(rest.get(self.words.len()))
    }

    fn fits_after(&self, before: Option<&Token>) -> bool {
        match self.at {
            Place::Anywhere => true,
            Place::Sentence => matches!(before, None | Some(Token::End | Token::Comment)),
            Place::Comment => matches!(before, None | Some(Token::Comment)),
        }
    }

    fn is_excused_by(&self, after: Option<&Token>) -> bool {
        self.unless.iter().any(|unless| match after {
            Some(Token::Word { text, .. }) => text == unless,
            Some(Token::Mark(mark)) => unless.chars().eq([*mark]),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests;
