//! Size of the image.

use std::fs;

use crate::harness::tools::root;
use crate::report::Report;

/// Measures the OCI archive of this machine's architecture. Its layers are compressed.
pub fn measure(report: &mut Report) {
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let path = root().join(format!("target/image/ecr-pull-secrets-{arch}.tar"));
    match fs::metadata(&path) {
        Ok(archive) => report.figure("image_mb", archive.len() as f64 / 1e6),
        Err(error) => report.note(format!("no image: {}: {error}", path.display())),
    }
}
