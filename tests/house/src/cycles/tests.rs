use std::io;
use std::path::Path;

use super::*;

/// The crate of these files; the first one is its root.
fn load(files: &[(&str, &str)]) -> Tree {
    let read = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    Tree::load(Path::new(files[0].0), &read).unwrap()
}

/// `from > to:line`, for each line that makes an edge.
fn takings(files: &[(&str, &str)]) -> Vec<String> {
    let tree = load(files);
    let mut all = Vec::new();
    for ((taker, giver), takings) in &edges(&tree).0 {
        for taking in takings {
            all.push(format!(
                "{} > {}:{}",
                tree.path(*taker).display(),
                tree.path(*giver).display(),
                taking.line
            ));
        }
    }
    all
}

/// Takings of `a.rs`, beside a `b.rs` with an item of each kind and a `c.rs` that exports some of them again.
fn takings_of(text: &str) -> Vec<String> {
    takings(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", text),
        (
            "b.rs",
            "pub struct Item; pub enum Kind { One } pub const N: u8 = 1; pub fn make() {}",
        ),
        (
            "c.rs",
            "pub use crate::b::{Item, Kind as Sort}; pub struct Own;",
        ),
    ])
    .into_iter()
    .filter(|taking| taking.starts_with("a.rs"))
    .collect()
}

fn cycle_lengths(files: &[(&str, &str)]) -> Vec<usize> {
    let tree = load(files);
    cycles(&edges(&tree)).iter().map(Vec::len).collect()
}

#[test]
fn imports_take_from_the_defining_file() {
    for text in [
        "use crate::b::Item;",
        "use super::b::Item as Other;",
        "use crate::{b::{Item}};",
        "use crate::c::Item;",
        "use crate::c::Sort;",
        "use crate::b::Kind::One;",
        "use super::b::*;",
        "pub use crate::b::{self, Item};",
    ] {
        assert_eq!(takings_of(text), ["a.rs > b.rs:1"], "{text}");
    }
}

#[test]
fn paths_take_wherever_they_stand() {
    for text in [
        "struct A { item: crate::b::Item }",
        "fn a() { super::b::make(); }",
        "fn a(n: u8) { match n { crate::b::N => {} _ => {} } }",
        "impl Clone for crate::b::Item {}",
        "fn a<T: Into<crate::c::Item>>() {}",
        "fn a() { println!(\"{}\", crate::b::N); }",
        "fn a() { vec![[super::b::N]]; }",
        "#[derive(X)] struct A { #[serde(with = \"crate::b::make\")] n: u8 }",
        "macro_rules! a { () => { $crate::b::N } }",
        "mod inner { const A: u8 = super::super::b::N; }",
        "fn a() { use crate::b; b::make(); }",
        "fn a() { use crate as root; root::b::make(); }",
        "const A: u8 = <crate::b::Item>::N;",
    ] {
        assert_eq!(takings_of(text), ["a.rs > b.rs:1"], "{text}");
    }
}

#[test]
fn paths_through_an_imported_module_take() {
    assert_eq!(
        takings_of("use super::b;\nfn a() { b::make(); }"),
        ["a.rs > b.rs:2"]
    );
}

#[test]
fn names_of_a_glob_take_from_their_file() {
    assert_eq!(
        takings_of("use super::c::*;\nstruct A(Item, Own);"),
        ["a.rs > b.rs:2", "a.rs > c.rs:1", "a.rs > c.rs:2"]
    );
}

#[test]
fn tests_take_nothing() {
    for text in [
        "#[cfg(test)] mod tests { use crate::b::Item; }",
        "#[cfg(all(test, unix))] use crate::b::Item;",
        "#[test] fn a() { crate::b::make(); }",
        "struct A; impl A { #[cfg(test)] fn a() { crate::b::make(); } }",
        "#[cfg(test)] mod missing;",
    ] {
        assert_eq!(takings_of(text), [""; 0], "{text}");
    }
    assert_eq!(
        takings_of("#[cfg(not(test))] use crate::b::Item;"),
        ["a.rs > b.rs:1"]
    );
}

#[test]
fn other_crates_and_own_items_take_nothing() {
    for text in [
        "use std::fmt; fn a() { fmt::format(); }",
        "use ::b::Item;",
        "mod b { pub struct Item; } use self::b::Item; struct A(b::Item);",
        "fn a() { struct Item; Item::new(); }",
        "use crate::b;",
        "//! [`crate::b::Item`]\n\n/// [`crate::b::Item`]\npub(in crate::b) struct A;",
    ] {
        assert_eq!(takings_of(text), [""; 0], "{text}");
    }
}

#[test]
fn macro_takes_from_the_file_that_defines_it() {
    assert_eq!(
        takings(&[
            ("lib.rs", "#[macro_use] mod a; mod b;"),
            ("a.rs", "macro_rules! list { () => {} }"),
            ("b.rs", "list!();"),
        ]),
        ["b.rs > a.rs:1"]
    );
}

#[test]
fn declaring_a_child_is_no_edge() {
    let child = ("a/child.rs", "use super::Own; pub struct Child;");
    for (parent, lengths) in [
        ("mod child; pub struct Own;", vec![]),
        ("mod child; pub use child::Child; pub struct Own;", vec![2]),
        ("mod child; pub struct Own(child::Child);", vec![2]),
    ] {
        let files = [("lib.rs", "mod a;"), ("a.rs", parent), child];
        assert_eq!(cycle_lengths(&files), lengths, "{parent}");
    }
}

#[test]
fn sibling_reexported_by_the_parent_is_no_cycle() {
    assert_eq!(
        takings(&[
            ("lib.rs", "mod one; mod two; pub use one::One;"),
            ("one.rs", "pub struct One;"),
            ("two.rs", "use super::One;"),
        ]),
        ["lib.rs > one.rs:1", "two.rs > one.rs:1"]
    );
}

#[test]
fn name_made_by_a_macro_belongs_to_its_module() {
    assert_eq!(takings_of("use crate::b::Made;"), ["a.rs > b.rs:1"]);
}

#[test]
fn import_that_leads_back_to_itself_ends() {
    assert_eq!(
        takings(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::X;"),
            ("b.rs", "pub use crate::a::X;"),
        ]),
        [""; 0]
    );
}

#[test]
fn module_and_function_of_one_name_are_told_apart() {
    assert_eq!(
        takings(&[
            ("lib.rs", "mod run; use run::run; mod b;"),
            ("run.rs", "pub fn run() {} pub struct Run;"),
            ("b.rs", "fn b(_: crate::run::Run) { crate::run(); }"),
        ]),
        ["lib.rs > run.rs:1", "b.rs > run.rs:1", "b.rs > run.rs:1"]
    );
}

#[test]
fn every_edge_of_a_knot_is_in_a_cycle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::{a::A, b::B}; pub struct C;"),
        ("d.rs", "use crate::a::A;"),
    ];
    assert_eq!(cycle_lengths(&files), [2, 3]);
}

#[test]
fn file_of_a_module_may_be_mod_rs() {
    assert_eq!(
        takings(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; struct A(b::B);"),
            ("a/b.rs", "pub struct B;"),
        ]),
        ["a/mod.rs > a/b.rs:1"]
    );
}
