//! The modules of a crate and the names in each, without its tests.
//!
//! Follows `mod` from the crate root, so a file that only tests declare is not part of the tree. `#[path]` is not
//! supported: the file is then reported as missing.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, ItemMod, Meta, Token};

use crate::failure::Failure;
use crate::imports::imports;

/// Index into [`Tree::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) usize);

/// Index into [`Tree::modules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModuleId(pub(crate) usize);

/// A crate.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) modules: Vec<Module>,
    /// Files of `macro_rules!`, whose names hold beyond their module.
    pub(crate) macros: HashMap<String, FileId>,
}

/// A file, parsed. Items of tests are still in `items`.
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) module: ModuleId,
    pub(crate) items: Vec<Item>,
}

/// A module: a whole file, or an inline one within a file.
pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    pub(crate) file: FileId,
    pub(crate) names: HashMap<String, Meaning>,
    /// Paths of glob imports.
    pub(crate) globs: Vec<Vec<String>>,
}

/// What one name stands for in a module. A function and a module may share a name.
#[derive(Default)]
pub(crate) struct Meaning {
    pub(crate) module: Option<ModuleId>,
    pub(crate) is_item: bool,
    pub(crate) imports: Vec<Vec<String>>,
}

impl Tree {
    /// Loads the crate with this root file.
    pub(crate) fn load(
        root: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Failure> {
        let mut tree = Self::default();
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        let source = read(root).map_err(|source| Failure::Read {
            path: root.to_owned(),
            source,
        })?;
        tree.add_file(None, root.to_owned(), &source, &folder, read)?;
        Ok(tree)
    }

    pub(crate) fn path(&self, file: FileId) -> &Path {
        &self.files[file.0].path
    }

    /// Adds a file and all modules that it declares; `folder` is where files of its child modules are.
    fn add_file(
        &mut self,
        parent: Option<ModuleId>,
        path: PathBuf,
        source: &str,
        folder: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<ModuleId, Failure> {
        let parsed = syn::parse_file(source).map_err(|source| Failure::Parse {
            path: path.clone(),
            source,
        })?;
        let file = FileId(self.files.len());
        let module = self.add_module(parent, file);
        self.files.push(SourceFile {
            path,
            module,
            items: Vec::new(),
        });
        self.declare(module, &parsed.items, folder, read)?;
        self.files[file.0].items = parsed.items;
        Ok(module)
    }

    fn add_module(&mut self, parent: Option<ModuleId>, file: FileId) -> ModuleId {
        self.modules.push(Module {
            parent,
            file,
            names: HashMap::new(),
            globs: Vec::new(),
        });
        ModuleId(self.modules.len() - 1)
    }

    /// Enters the names of all items into a module.
    fn declare(
        &mut self,
        module: ModuleId,
        items: &[Item],
        folder: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<(), Failure> {
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            match item {
                Item::Use(item) => {
                    for import in imports(item) {
                        match import.name {
                            Some(name) => self.meaning(module, name).imports.push(import.path),
                            None => self.modules[module.0].globs.push(import.path),
                        }
                    }
                }
                Item::Mod(item) => {
                    let child = self.add_child(module, item, folder, read)?;
                    self.meaning(module, item.ident.to_string()).module = Some(child);
                }
                _ => {
                    let Some(name) = item_name(item) else {
                        continue;
                    };
                    if matches!(item, Item::Macro(_)) {
                        let file = self.modules[module.0].file;
                        self.macros.insert(name.clone(), file);
                    }
                    self.meaning(module, name).is_item = true;
                }
            }
        }
        Ok(())
    }

    fn add_child(
        &mut self,
        parent: ModuleId,
        item: &ItemMod,
        folder: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<ModuleId, Failure> {
        let name = item.ident.to_string();
        let below = folder.join(&name);
        if let Some((_, items)) = &item.content {
            let child = self.add_module(Some(parent), self.modules[parent.0].file);
            self.declare(child, items, &below, read)?;
            return Ok(child);
        }
        let beside = folder.join(format!("{name}.rs"));
        let (path, source) = match read(&beside) {
            Ok(source) => (beside, source),
            Err(source) => {
                let inside = below.join("mod.rs");
                let path = beside;
                let text = read(&inside).map_err(|_| Failure::Read { path, source })?;
                (inside, text)
            }
        };
        self.add_file(Some(parent), path, &source, &below, read)
    }

    fn meaning(&mut self, module: ModuleId, name: String) -> &mut Meaning {
        self.modules[module.0].names.entry(name).or_default()
    }
}

/// Name of an item that is neither a module nor an import.
pub(crate) fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether the attributes leave an item out of every build but that of tests.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<Meta>()
                    .is_ok_and(|predicate| needs_test(&predicate)))
    })
}

fn needs_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            else {
                return false;
            };
            if list.path.is_ident("all") {
                parts.iter().any(needs_test)
            } else {
                list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(needs_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}
