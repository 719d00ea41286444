//! From a path in a module to the file where the item lives, through imports, re-exports and globs.

use crate::tree::{FileId, ModuleId, Tree};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Module(ModuleId),
    /// Anything else, by the file that defines it.
    Item(FileId),
}

impl Tree {
    /// Everything that a path means in a module; nothing if it leads out of the crate. A name that is not found in a
    /// module, because a macro makes it, counts as an item of that module.
    pub(crate) fn resolve(&self, module: ModuleId, path: &[String]) -> Vec<Found> {
        self.follow(module, path, &mut Vec::new())
    }

    /// `open` are the names whose imports are being followed: one that leads back to itself ends there.
    fn follow(
        &self,
        module: ModuleId,
        path: &[String],
        open: &mut Vec<(ModuleId, String)>,
    ) -> Vec<Found> {
        let Some((first, mut rest)) = path.split_first() else {
            return Vec::new();
        };
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(ModuleId(0))],
            "self" => vec![Found::Module(module)],
            "super" => self.parent(module).into_iter().collect(),
            name => self.look_up(module, name, open),
        };
        while let Some((next, after)) = rest.split_first() {
            found = self.descend(&found, next, open);
            rest = after;
        }
        found
    }

    fn parent(&self, module: ModuleId) -> Option<Found> {
        self.modules[module.0].parent.map(Found::Module)
    }

    /// One more segment. An item stays what it is: a variant or an associated item lives with it.
    fn descend(
        &self,
        found: &[Found],
        next: &str,
        open: &mut Vec<(ModuleId, String)>,
    ) -> Vec<Found> {
        let modules: Vec<ModuleId> = found
            .iter()
            .filter_map(|found| match found {
                Found::Module(module) => Some(*module),
                Found::Item(_) => None,
            })
            .collect();
        if modules.is_empty() {
            return found.to_vec();
        }
        let mut below = Vec::new();
        for module in modules {
            if next == "super" {
                below.extend(self.parent(module));
                continue;
            }
            let named = self.look_up(module, next, open);
            if named.is_empty() && !self.is_foreign(module, next) {
                below.push(Found::Item(self.modules[module.0].file));
            }
            below.extend(named);
        }
        below
    }

    /// Whether a module imports a name from another crate.
    fn is_foreign(&self, module: ModuleId, name: &str) -> bool {
        self.modules[module.0]
            .names
            .get(name)
            .is_some_and(|meaning| !meaning.imports.is_empty())
    }

    fn look_up(
        &self,
        module: ModuleId,
        name: &str,
        open: &mut Vec<(ModuleId, String)>,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        let inside = &self.modules[module.0];
        let meaning = inside.names.get(name);
        if let Some(meaning) = meaning {
            found.extend(meaning.module.map(Found::Module));
            if meaning.is_item {
                found.push(Found::Item(inside.file));
            }
        }
        let key = (module, name.to_owned());
        if open.contains(&key) {
            return found;
        }
        open.push(key);
        match meaning {
            Some(meaning) => {
                for path in &meaning.imports {
                    found.extend(self.follow(module, path, open));
                }
            }
            None => {
                for path in &inside.globs {
                    for target in self.follow(module, path, open) {
                        if let Found::Module(target) = target {
                            found.extend(self.look_up(target, name, open));
                        }
                    }
                }
            }
        }
        open.pop();
        found
    }
}
