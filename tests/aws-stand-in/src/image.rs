//! The image of every repository until a test uploads another one: one layer with one small file.

use std::io;

use bytes::Bytes;
use serde_json::json;

use crate::{encoding, oci_layout::Repository};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Generates a repository's image. The bytes depend only on the name, so that digests stay valid across requests.
pub(crate) fn generate(repository: &str) -> io::Result<Repository> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let layer = layer(&format!("{repository}\n"))?;
    let layer_digest = encoding::digest(&layer);
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created_by": "aws-stand-in"}],
    })
    .to_string();
    let config_digest = encoding::digest(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": layer.len()}],
    })
    .to_string();

    let mut image = Repository::default();
    image.add_blob(layer);
    image.add_blob(config);
    let digest = image.add_blob(manifest);
    image.add_manifest(&digest, MANIFEST);
    image.answer_every_tag_with(digest);
    Ok(image)
}

fn layer(content: &str) -> io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, "repository", content.as_bytes())?;
    archive.into_inner().map(Bytes::from)
}
