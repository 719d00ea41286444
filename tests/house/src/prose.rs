//! A file as words and marks: what the word list is compared with.

use crate::lexer::{Kind, Language, Piece, pieces};

/// A word or what stands between words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// In lower case, without a possessive `'s`.
    Word { text: String, line: usize },
    /// Punctuation within a sentence.
    Mark(char),
    /// End of a sentence, a paragraph, an item of a list, a cell of a table.
    End,
    /// Start of a comment or of a document.
    Comment,
}

/// How the text of a file is told from the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Code(Language),
    /// All of it is prose, in paragraphs.
    Document,
    /// Lines, with comments that start with `#`.
    Hash,
    /// A test fixture: only its `about` is ours.
    Fixture,
}

pub(crate) fn tokens(source: &str, format: Format) -> Vec<Token> {
    let pieces = match format {
        Format::Code(language) => pieces(source, language),
        Format::Document => vec![Piece {
            kind: Kind::Prose,
            line: 1,
            text: source.to_owned(),
        }],
        Format::Hash => hash_pieces(source),
        Format::Fixture => about_pieces(source),
    };
    let mut all = Vec::new();
    for piece in &pieces {
        add(piece, &mut all);
    }
    all
}

/// The name of a file, as words.
pub(crate) fn name_tokens(path: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let text = path.replace(['/', '-', '_', '.'], " ");
    let (kind, line) = (Kind::Name, 1);
    add(&Piece { kind, line, text }, &mut all);
    all
}

/// A run of comment lines is one piece; each other line is one, and the comment at its end another.
fn hash_pieces(source: &str) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    let mut is_run = false;
    for (line, text) in (1..).zip(source.lines()) {
        let (before, comment) = match text.trim_start().strip_prefix('#') {
            Some(comment) => ("", Some(comment)),
            None => match text.split_once(" # ").or_else(|| text.split_once(" ## ")) {
                Some((before, comment)) => (before, Some(comment)),
                None => (text, None),
            },
        };
        let continues = is_run && before.is_empty();
        is_run = before.is_empty() && comment.is_some();
        match (all.last_mut(), comment) {
            (Some(run), Some(comment)) if continues => {
                run.text.push('\n');
                run.text.push_str(comment.trim_start_matches('#'));
                continue;
            }
            _ => {}
        }
        all.push(Piece {
            kind: Kind::Text,
            line,
            text: before.to_owned(),
        });
        all.extend(comment.map(|comment| Piece {
            kind: Kind::Prose,
            line,
            text: comment.trim_start_matches('#').to_owned(),
        }));
    }
    all
}

fn about_pieces(source: &str) -> Vec<Piece> {
    (1..)
        .zip(source.lines())
        .filter(|(_, text)| text.trim_start().starts_with("\"about\":"))
        .map(|(line, text)| Piece {
            kind: Kind::Prose,
            line,
            text: text.replacen("\"about\":", "", 1),
        })
        .collect()
}

fn add(piece: &Piece, all: &mut Vec<Token>) {
    all.push(match piece.kind {
        Kind::Prose => Token::Comment,
        Kind::Text => Token::Mark('"'),
        Kind::Name => Token::End,
    });
    for (line, text) in (piece.line..).zip(piece.text.split('\n')) {
        add_line(text, line, piece.kind, all);
    }
    all.push(Token::End);
}

fn add_line(text: &str, line: usize, kind: Kind, all: &mut Vec<Token>) {
    let mut text = text;
    if kind == Kind::Prose
        && let Some(rest) = paragraph_start(text.trim_start())
    {
        all.push(Token::End);
        text = rest;
    }
    let mut characters = text.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        if is_of_word(character) {
            let mut end = start + character.len_utf8();
            while let Some((at, next)) = characters.next_if(|(_, next)| is_of_word(*next)) {
                end = at + next.len_utf8();
            }
            all.push(word(&text[start..end], line));
            continue;
        }
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '.' | '!' | '?' | ':' | ';' if next.is_none_or(char::is_whitespace) => {
                all.push(Token::End);
            }
            '|' => all.push(Token::End),
            '*' => {} // emphasis
            space if space.is_whitespace() => {}
            mark => all.push(Token::Mark(mark)),
        }
    }
}

/// An empty line, an item of a list or a heading, without its mark.
fn paragraph_start(line: &str) -> Option<&str> {
    if line.is_empty() {
        return Some(line);
    }
    let (mark, rest) = line.split_once(' ')?;
    let is_mark = match mark.strip_suffix('.') {
        Some(number) => number.bytes().all(|byte| byte.is_ascii_digit()),
        None => matches!(mark, "-" | "*" | "+") || mark.bytes().all(|byte| byte == b'#'),
    };
    is_mark.then_some(rest)
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '\'' | '’')
}

fn word(text: &str, line: usize) -> Token {
    let text = text.to_lowercase().replace('’', "'");
    let text = text.trim_matches('\'');
    let text = text.strip_suffix("'s").unwrap_or(text).to_owned();
    Token::Word { text, line }
}
