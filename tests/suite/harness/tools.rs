//! Programs that the suite runs: built once, into the cache, by `tests/cluster/tools.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path of a tool, built if need be.
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

/// Runs a command to its end; its output goes into the panic if it fails.
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
