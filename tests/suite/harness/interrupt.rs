//! Ctrl-C leaves nothing behind: each world stops, and each folder goes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::World;

static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static WORLDS: Mutex<Vec<Weak<World>>> = Mutex::new(Vec::new());

/// On Ctrl-C, removes the folder.
pub fn will_remove(folder: &Path) {
    let mut folders = FOLDERS.lock();
    folders.push(folder.to_owned());
    if folders.len() == 1 {
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                clean_up();
                std::process::exit(130);
            }
        });
    }
}

/// On Ctrl-C, stops the world before its folder goes.
pub fn will_stop(world: &Arc<World>) {
    let mut worlds = WORLDS.lock();
    worlds.push(Arc::downgrade(world));
}

fn clean_up() {
    let worlds = WORLDS.lock();
    for world in worlds.iter().filter_map(Weak::upgrade) {
        world.stop();
    }
    let folders = FOLDERS.lock();
    for folder in folders.iter() {
        let _ = std::fs::remove_dir_all(folder);
    }
}
