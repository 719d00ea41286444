//! A name of a type is used once in `core` and `src`: structs, enums, unions, traits and aliases, private ones included.
//!
//! A name of Rust's prelude counts as used already: an alias `Result` hides which errors there are. The same name twice
//! in one file under two `cfg` is one type.

use std::collections::BTreeMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item};

use crate::tree::{Tree, attributes, is_test};

const PRELUDE: [&str; 21] = [
    "AsMut", "AsRef", "Box", "Clone", "Copy", "Default", "Drop", "Extend", "Fn", "From", "Future",
    "Into", "Iterator", "Option", "Result", "Send", "Sized", "String", "Sync", "ToString", "Vec",
];

pub(crate) fn findings(trees: &[Tree]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for tree in trees {
        for file in &tree.files {
            let mut visitor = Types {
                path: file.path.display().to_string(),
                places: &mut places,
            };
            for item in &file.items {
                visitor.visit_item(item);
            }
        }
    }
    places
        .into_iter()
        .filter(|(name, places)| is_taken(name) || !is_one_type(places))
        .map(|(name, places)| report(&name, &places))
        .collect()
}

struct Place {
    path: String,
    line: usize,
    has_cfg: bool,
}

fn is_taken(name: &str) -> bool {
    PRELUDE.contains(&name)
}

fn is_one_type(places: &[Place]) -> bool {
    places.len() == 1
        || places
            .iter()
            .all(|place| place.has_cfg && place.path == places[0].path)
}

fn report(name: &str, places: &[Place]) -> String {
    let hides = if is_taken(name) {
        ", a name of Rust's prelude"
    } else {
        ""
    };
    let list: Vec<String> = places
        .iter()
        .map(|place| format!("\n  {}:{}", place.path, place.line))
        .collect();
    format!("type {name} ×{}{hides}:{}", places.len(), list.concat())
}

struct Types<'a> {
    path: String,
    places: &'a mut BTreeMap<String, Vec<Place>>,
}

impl Types<'_> {
    fn add(&mut self, ident: &Ident, attributes: &[Attribute]) {
        let place = Place {
            path: self.path.clone(),
            line: ident.span().start().line,
            has_cfg: attributes
                .iter()
                .any(|attribute| attribute.path().is_ident("cfg")),
        };
        self.places
            .entry(ident.to_string())
            .or_default()
            .push(place);
    }

    /// Types that a macro defines under a name of its own.
    fn scan(&mut self, tokens: &TokenStream) {
        let mut is_kind = false;
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(ident) if is_kind => {
                    is_kind = false;
                    self.add(&ident, &[]);
                }
                TokenTree::Ident(ident) => {
                    let kinds = ["enum", "struct", "trait", "union"];
                    is_kind = kinds.iter().any(|kind| ident == kind);
                }
                TokenTree::Group(group) => {
                    is_kind = false;
                    self.scan(&group.stream());
                }
                _ => is_kind = false,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = attributes(item);
        if is_test(attributes) {
            return;
        }
        match item {
            Item::Enum(item) => self.add(&item.ident, attributes),
            Item::Struct(item) => self.add(&item.ident, attributes),
            Item::Trait(item) => self.add(&item.ident, attributes),
            Item::TraitAlias(item) => self.add(&item.ident, attributes),
            Item::Type(item) => self.add(&item.ident, attributes),
            Item::Union(item) => self.add(&item.ident, attributes),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(function) if is_test(&function.attrs) => {}
            _ => visit::visit_impl_item(self, item),
        }
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.scan(tokens);
    }
}

#[cfg(test)]
mod tests;
