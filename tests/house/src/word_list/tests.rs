use super::*;
use crate::prose::{Format, tokens};

fn hits(phrase: &str, document: &str) -> usize {
    let list = WordList::parse(&format!("{phrase} | other words")).unwrap();
    let tokens = tokens(document, Format::Document);
    (0..tokens.len())
        .filter(|at| list.phrases.iter().any(|phrase| phrase.is_at(&tokens, *at)))
        .count()
}

#[test]
fn whole_words_count_whatever_their_case() {
    assert_eq!(hits("foo", "Foo, foo's (FOO) *foo* foo-bar `foo`"), 6);
    assert_eq!(hits("foo", "food foo_bar xfoo"), 0);
}

#[test]
fn phrase_may_cross_lines_but_not_sentences() {
    assert_eq!(hits("foo bar", "foo\nbar"), 1);
    assert_eq!(
        hits("foo bar", "foo. Bar. foo, bar. foo\n\nbar\n- foo\n- bar"),
        0
    );
}

#[test]
fn caret_limits_to_the_start_of_a_sentence() {
    assert_eq!(hits("^foo", "Foo x. Foo x\n\nfoo\n- foo\n| foo | *Foo*"), 6);
    assert_eq!(hits("^foo", "a foo, foo\nfoo"), 0);
}

#[test]
fn slashes_limit_to_the_start_of_a_comment() {
    assert_eq!(hits("//foo", "Foo x. Foo"), 1);
    assert_eq!(hits("//foo", "x. Foo"), 0);
}

#[test]
fn what_follows_may_excuse() {
    assert_eq!(hits("foo !bar !-", "foo bar, foo-x, foo baz"), 1);
}

#[test]
fn unusable_line_is_an_error() {
    for text in [
        "foo",
        "foo |",
        "foo, | bar",
        "exceptions\nfoo | bar",
        "exceptions\npath | part |",
    ] {
        assert!(WordList::parse(text).is_err(), "{text}");
    }
}
