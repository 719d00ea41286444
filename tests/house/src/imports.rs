//! `use` items, flattened: one import for each name that they bring.

use proc_macro2::Ident;
use syn::{ItemUse, UseTree};

/// One name of a `use` item.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// Name in the importing scope; none for a glob.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// All imports of an item. One that starts with `::` names another crate and gives none.
pub(crate) fn imports(item: &ItemUse) -> Vec<Import> {
    let mut all = Vec::new();
    if item.leading_colon.is_none() {
        flatten(&item.tree, &mut Vec::new(), &mut all);
    }
    all
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, all: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, all);
            prefix.pop();
        }
        UseTree::Name(name) => all.push(import(prefix, &name.ident, None)),
        UseTree::Rename(rename) => all.push(import(prefix, &rename.ident, Some(&rename.rename))),
        UseTree::Glob(glob) => all.push(Import {
            path: prefix.clone(),
            name: None,
            line: glob.star_token.span.start().line,
        }),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, prefix, all);
            }
        }
    }
}

/// `self` in a group means the module that the group is of.
fn import(prefix: &[String], ident: &Ident, rename: Option<&Ident>) -> Import {
    let mut path = prefix.to_vec();
    if path.is_empty() || ident != "self" {
        path.push(ident.to_string());
    }
    Import {
        name: rename
            .map(ToString::to_string)
            .or_else(|| path.last().cloned()),
        path,
        line: ident.span().start().line,
    }
}
