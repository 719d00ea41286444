//! Programs that the suite runs. `tests/cluster/tools.sh` builds each once, into the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path of a tool; builds the tool if the cache lacks it.
pub fn tool(name: &str) -> PathBuf {
    let output = Command::new(root().join("tests/cluster/tools.sh"))
        .arg(name)
        .stderr(Stdio::inherit())
        .output()
        .expect("tools.sh runs");
    assert!(output.status.success(), "tools.sh {name} failed");
    PathBuf::from(
        String::from_utf8(output.stdout)
            .expect("a path is text")
            .trim(),
    )
}

/// Runs a command; its output, or a panic that holds it.
pub fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output is text")
}
