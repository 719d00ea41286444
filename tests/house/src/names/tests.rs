use std::path::Path;

use super::*;

/// Findings in a crate of one file.
fn found(text: &str) -> Vec<String> {
    let read = |_: &Path| Ok(text.to_owned());
    let tree = Tree::load(Path::new("lib.rs"), &read).unwrap();
    findings(&[tree])
        .iter()
        .filter_map(|finding| Some(finding.split_once(':')?.0.to_owned()))
        .collect()
}

#[test]
fn types_of_every_kind_count() {
    for text in [
        "struct A; enum A {}",
        "trait A {} type A = u8;",
        "union A { a: u8 } mod inner { struct A; }",
        "struct A; fn a() { struct A; }",
        "struct A; macro_rules! a { () => { pub enum A {} } }",
    ] {
        assert_eq!(found(text), ["type A ×2"], "{text}");
    }
}

#[test]
fn names_of_the_prelude_are_taken() {
    assert_eq!(
        found("type Result<T> = std::result::Result<T, Error>;"),
        ["type Result ×1, a name of Rust's prelude"]
    );
}

#[test]
fn what_is_no_second_type_is_left() {
    for text in [
        "struct A; fn A() {} mod a {}",
        "struct A; #[cfg(test)] mod tests { struct A; }",
        "#[cfg(unix)] struct A; #[cfg(not(unix))] struct A;",
        "struct A; impl X for A { type Output = u8; } trait X { type Output; }",
        "struct A; fn a() { b!(A, struct_a); }",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
}

#[test]
fn crates_are_one_workspace() {
    let read = |_: &Path| Ok("struct A;".to_owned());
    let tree = |path| Tree::load(Path::new(path), &read).unwrap();
    assert_eq!(
        findings(&[tree("core/src/lib.rs"), tree("src/lib.rs")]),
        ["type A ×2:\n  core/src/lib.rs:1\n  src/lib.rs:1"]
    );
}
