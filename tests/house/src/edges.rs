//! Which file takes something from which: one edge for each pair, with every line that makes it.
//!
//! Seen are imports, paths in types, expressions and patterns, and paths in the tokens of macros and attributes. Not
//! seen are calls of methods, which name no file. A parent that declares its child makes no edge; one that re-exports
//! something of it does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Field, ImplItem, Item, ItemMod, ItemUse, Local, Macro, Meta, Path, Stmt,
    TraitItem, Variant, Visibility,
};

use crate::imports::imports;
use crate::resolve::Found;
use crate::tree::{FileId, ModuleId, Tree, attributes, is_test, item_name};

/// A line that makes an edge, and the path on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Taking {
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// Edges of a crate: from the file that takes to the file that gives.
#[derive(Default)]
pub(crate) struct Edges(pub(crate) BTreeMap<(FileId, FileId), BTreeSet<Taking>>);

pub(crate) fn edges(tree: &Tree) -> Edges {
    let mut all = Edges::default();
    for (index, file) in tree.files.iter().enumerate() {
        let mut visitor = Takings {
            tree,
            file: FileId(index),
            module: file.module,
            blocks: Vec::new(),
            all: &mut all,
        };
        for item in &file.items {
            visitor.visit_item(item);
        }
    }
    all
}

/// What a name of a block stands for.
enum Inner {
    Item,
    Import(Vec<String>),
}

struct Takings<'a> {
    tree: &'a Tree,
    file: FileId,
    module: ModuleId,
    /// Names of the blocks around, innermost last.
    blocks: Vec<HashMap<String, Inner>>,
    all: &'a mut Edges,
}

impl Takings<'_> {
    fn take(&mut self, path: &[String], line: usize) {
        let Some(found) = self.resolve(path) else {
            return;
        };
        for found in found {
            if let Found::Item(from) = found {
                self.add(from, path, line);
            }
        }
    }

    /// A glob takes from the module itself, whatever the names are.
    fn take_all(&mut self, path: &[String], line: usize) {
        for found in self.tree.resolve(self.module, path) {
            let from = match found {
                Found::Item(file) => file,
                Found::Module(module) => self.tree.modules[module.0].file,
            };
            self.add(from, path, line);
        }
    }

    fn add(&mut self, from: FileId, path: &[String], line: usize) {
        if from != self.file {
            let path = path.join("::");
            let takings = self.all.0.entry((self.file, from)).or_default();
            takings.insert(Taking { line, path });
        }
    }

    /// None for a path that starts with an item of a block.
    fn resolve(&self, path: &[String]) -> Option<Vec<Found>> {
        let (first, rest) = path.split_first()?;
        match self.blocks.iter().rev().find_map(|block| block.get(first)) {
            Some(Inner::Item) => None,
            Some(Inner::Import(import)) => {
                let whole: Vec<String> = import.iter().chain(rest).cloned().collect();
                Some(self.tree.resolve(self.module, &whole))
            }
            None => Some(self.tree.resolve(self.module, path)),
        }
    }

    fn visit_inline(&mut self, item: &ItemMod) {
        let Some((_, items)) = &item.content else {
            return;
        };
        let name = item.ident.to_string();
        let inside = self.tree.modules[self.module.0].names.get(&name);
        let Some(inside) = inside.and_then(|meaning| meaning.module) else {
            return; // one within a block
        };
        let outside = std::mem::replace(&mut self.module, inside);
        let blocks = std::mem::take(&mut self.blocks);
        for item in items {
            self.visit_item(item);
        }
        self.module = outside;
        self.blocks = blocks;
    }

    /// Paths of at least two segments among tokens, also `$crate::…` and those in literals of attributes.
    fn visit_tokens(&mut self, tokens: &TokenStream, in_attribute: bool) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.visit_tokens(&group.stream(), in_attribute),
                TokenTree::Literal(literal) if in_attribute => {
                    let text = literal.to_string();
                    let path: Vec<String> = text
                        .trim_matches('"')
                        .split("::")
                        .map(str::to_owned)
                        .collect();
                    if path.len() > 1 {
                        self.take(&path, literal.span().start().line);
                    }
                }
                TokenTree::Ident(first) => {
                    let (path, end) = path_at(&tokens, at);
                    if path.len() > 1 && !follows_colons(&tokens, at) {
                        self.take(&path, first.span().start().line);
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// The path that starts with the identifier at `at`, and where it ends.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        path.push(ident.to_string());
        at += 1;
        if !(is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))) {
            break;
        }
        if !matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
            break;
        }
        at += 2;
    }
    (path, at)
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// Whether the identifier at `at` continues something that is no plain path, such as `<T>::new`.
fn follows_colons(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && is_colon(tokens.get(at - 1)) && is_colon(tokens.get(at - 2))
}

impl<'ast> Visit<'ast> for Takings<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        match item {
            Item::Mod(item) => self.visit_inline(item),
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for import in imports(item) {
            match import.name {
                Some(_) => self.take(&import.path, import.line),
                None => self.take_all(&import.path, import.line),
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let mut names = HashMap::new();
        for statement in &block.stmts {
            let Stmt::Item(item) = statement else {
                continue;
            };
            match item {
                Item::Use(item) => {
                    names.extend(
                        imports(item)
                            .into_iter()
                            .filter_map(|import| Some((import.name?, Inner::Import(import.path)))),
                    );
                }
                _ => {
                    names.extend(item_name(item).map(|name| (name, Inner::Item)));
                }
            }
        }
        self.blocks.push(names);
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Fn(function) if is_test(&function.attrs) => {}
            _ => visit::visit_trait_item(self, item),
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    /// `pub(in path)` takes nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let names: Vec<String> = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            self.take(&names, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        if let Some(name) = mac.path.get_ident()
            && let Some(file) = self.tree.macros.get(&name.to_string())
        {
            self.add(*file, &[format!("{name}!")], name.span().start().line);
        }
        self.visit_path(&mac.path);
        self.visit_tokens(&mac.tokens, false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.visit_tokens(&list.tokens, true);
        }
    }
}
