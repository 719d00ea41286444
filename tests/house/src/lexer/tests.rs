use super::Kind::{Name, Prose, Text};
use super::*;

fn all(source: &str, language: Language) -> Vec<(Kind, usize, String)> {
    pieces(source, language)
        .into_iter()
        .map(|piece| (piece.kind, piece.line, piece.text))
        .collect()
}

fn rust(source: &str) -> Vec<(Kind, usize, String)> {
    all(source, Language::Rust)
}

fn piece(kind: Kind, line: usize, text: &str) -> (Kind, usize, String) {
    (kind, line, text.to_owned())
}

#[test]
fn comments_in_a_row_are_one_piece() {
    assert_eq!(
        rust("//! a\n\n/// b\n    // c\nx; // d\n/* e\n/* f */ g */ // h"),
        [
            piece(Prose, 1, " a\n\n b\n c"),
            piece(Prose, 5, " d"),
            piece(Prose, 6, " e\n/* f */ g "),
            piece(Prose, 7, " h"),
        ]
    );
}

#[test]
fn strings_of_every_kind_are_text() {
    assert_eq!(
        rust("\"a\\\"b\\\n  c\" b\"d\" r\"e\\\" br#\"f\"g\"# \"h\""),
        [
            piece(Text, 1, "a  b \n  c"),
            piece(Text, 2, "d"),
            piece(Text, 2, "e\\"),
            piece(Text, 2, "f\"g"),
            piece(Text, 2, "h"),
        ]
    );
    assert_eq!(
        all("`a\"\n\\` + \"b\"", Language::Go),
        [piece(Text, 1, "a\"\n\\"), piece(Text, 2, "b")]
    );
}

#[test]
fn characters_and_lifetimes_start_no_string() {
    assert_eq!(
        rust("&'a str; '\"'; '\\''; '\\u{1F600}'; b'\"'; 'ä'; 'x: loop {} // end"),
        [piece(Prose, 1, " end")]
    );
}

#[test]
fn url_in_a_string_is_no_comment() {
    assert_eq!(rust("\"https://x\""), [piece(Text, 1, "https://x")]);
}

#[test]
fn declared_names_are_split_into_words() {
    assert_eq!(
        rust(
            "pub(crate) const unsafe fn one_two() {}\nstruct OneTwo;\nstatic mut ONE_TWO: u8 = call();\nlet three = fn(u8);"
        ),
        [
            piece(Name, 1, "one two"),
            piece(Name, 2, "One Two"),
            piece(Name, 3, "ONE TWO"),
        ]
    );
    assert_eq!(
        all(
            "func (s *Server) ServeAll(w int) {}\nfunc TestOne() {}",
            Language::Go
        ),
        [piece(Name, 1, "Serve All"), piece(Name, 2, "Test One")]
    );
}

#[test]
fn unfinished_source_ends() {
    for source in [
        "\"", "r#\"", "/*", "'", "'\\", "`", "fn", "//", "func (", "\"\\",
    ] {
        rust(source);
        all(source, Language::Go);
    }
}
