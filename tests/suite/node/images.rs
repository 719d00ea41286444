//! Images of one static program, as an OCI image layout in a tar.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::tools::run;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Architecture of this machine, as OCI names it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// Image that runs `program`. The marker makes its content unique.
pub fn layout(marker: &str, program: &[u8]) -> Bytes {
    let layer = archive(&[("program", program), ("marker", marker.as_bytes())]);
    let config = json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": { "Entrypoint": ["/program"], "User": "65532:65532" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &manifest)] });
    let blobs = [layer, config, manifest];
    let names = blobs
        .each_ref()
        .map(|blob| format!("blobs/{}", digest(blob).replace(':', "/")));
    let (index, version) = (
        index.to_string(),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    );
    let mut files = vec![
        ("index.json", index.as_bytes()),
        ("oci-layout", version.as_bytes()),
    ];
    files.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(blobs.iter().map(Vec::as_slice)),
    );
    archive(&files).into()
}

/// Compiles a static program that ends at once with 0.
pub fn ending_program(folder: &Path) -> Vec<u8> {
    let (source, program) = (folder.join("ending.c"), folder.join("ending"));
    std::fs::write(&source, "int main(void) { return 0; }\n").expect("a file");
    run(Command::new("cc")
        .args(["-static", "-o"])
        .args([&program, &source]));
    std::fs::read(program).expect("a program")
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, *content)
            .expect("a tar in memory");
    }
    archive.into_inner().expect("a tar in memory")
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

/// Digest of a blob, as OCI writes it.
pub fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
