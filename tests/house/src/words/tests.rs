use super::*;

/// Findings in one file, by a list of one phrase and some exceptions.
fn found(exceptions: &str, path: &str, source: &str) -> Vec<String> {
    let list = WordList::parse(&format!("foo bar | baz\nexceptions\n{exceptions}")).unwrap();
    let mut check = Check::new(&list);
    check.file(path, source, format(path).unwrap());
    check.end()
}

#[test]
fn finding_names_place_phrase_and_remedy() {
    assert_eq!(
        found("", "a.rs", "\n\n// A foo\n// bar."),
        ["a.rs:3: \"foo bar\": baz"]
    );
}

#[test]
fn prose_of_every_format_is_checked() {
    for (path, source) in [
        ("a.rs", "let x = \"foo bar\";"),
        ("a.rs", "fn foo_bar() {}"),
        ("a.go", "func TestFooBar() {}"),
        ("a.md", "foo bar"),
        ("NOTES.txt", "foo bar"),
        ("a.sh", "echo foo bar"),
        ("a.yaml", "a: b # foo bar"),
        ("a.yaml", "a: foo bar"),
        ("Makefile", "# foo\n# bar"),
        (".ci/run", "# foo bar"),
        ("tests/fixtures/a.json", "\"about\": \"foo bar\","),
        ("foo-bar.md", ""),
    ] {
        assert_eq!(found("", path, source).len(), 1, "{path}: {source}");
    }
}

#[test]
fn code_is_not_prose() {
    for (path, source) in [
        ("a.rs", "foo(); let bar = 1; foo.bar(); foo bar"),
        ("a.go", "foo bar"),
        ("a.yaml", "# foo\nbar: 1"),
        ("tests/fixtures/a.json", "\"image\": \"foo bar\""),
    ] {
        assert_eq!(found("", path, source), [""; 0], "{path}: {source}");
    }
}

#[test]
fn exception_covers_its_line_only() {
    let source = "a foo bar b\n\na foo bar c";
    assert_eq!(
        found("a.md | bar b | a fixed name", "a.md", source),
        ["a.md:3: \"foo bar\": baz"]
    );
}

#[test]
fn exception_without_need_is_reported() {
    assert_eq!(
        found("b.md | foo | a fixed name", "a.md", ""),
        ["tests/house/words.txt:3: the exception in b.md is not needed: remove it"]
    );
}

#[test]
fn every_phrase_of_the_list_is_found() {
    let list = WordList::parse(LIST).unwrap();
    for phrase in &list.phrases {
        let mut check = Check::new(&list);
        check.file("a.md", &phrase.words.join(" "), Format::Document);
        let text = format!("a.md:1: \"{}\": {}", phrase.words.join(" "), phrase.instead);
        assert!(check.findings.contains(&text), "{text}");
    }
}
