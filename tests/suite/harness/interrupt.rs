//! Ctrl-C leaves nothing behind: the processes end with their pipes, the folders here.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

type Ending = (PathBuf, fn());

static ENDINGS: Mutex<Vec<Ending>> = Mutex::new(Vec::new());

/// On Ctrl-C, calls `stop` and removes the folder.
pub fn clean_up_on_interrupt(directory: PathBuf, stop: fn()) {
    let mut endings = ENDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    endings.push((directory, stop));
    if endings.len() == 1 {
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                let endings = ENDINGS.lock().unwrap_or_else(PoisonError::into_inner);
                for (directory, stop) in endings.iter() {
                    stop();
                    let _ = std::fs::remove_dir_all(directory);
                }
                std::process::exit(130);
            }
        });
    }
}
