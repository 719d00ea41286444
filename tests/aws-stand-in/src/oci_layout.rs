//! The content of repositories, and its upload: an OCI image layout in a tar.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{encoding, image};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Why an upload is not an OCI image layout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("cannot read the tar: {0}")]
    Archive(#[from] io::Error),
    #[error("the tar holds no {0}: it is not an OCI image layout")]
    Missing(String),
    #[error("cannot parse {name}: {error}")]
    Json {
        name: String,
        error: serde_json::Error,
    },
    #[error("blobs/sha256/{0} has another digest")]
    Digest(String),
    #[error("index.json names no manifest")]
    Empty,
}

/// The uploaded repositories; every other repository holds the generated image.
#[derive(Default)]
pub(crate) struct Images(HashMap<String, Repository>);

/// Manifests and blobs of one repository. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Repository {
    tags: HashMap<String, String>,
    every_tag: Option<String>,
    media_types: HashMap<String, String>,
    blobs: HashMap<String, Bytes>,
}

/// A manifest as the registry answers it.
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl Images {
    /// The content of a repository.
    pub(crate) fn open(&self, repository: &str) -> io::Result<Repository> {
        match self.0.get(repository) {
            Some(uploaded) => Ok(uploaded.clone()),
            None => image::generate(repository),
        }
    }

    /// Adds an image under a tag and returns its digest. From then on, only uploaded tags exist in the repository.
    pub(crate) fn upload(
        &mut self,
        repository: &str,
        tag: &str,
        archive: &[u8],
    ) -> Result<String, LayoutError> {
        let mut content = self.0.get(repository).cloned().unwrap_or_default();
        let digest = content.add_layout(tag, archive)?;
        content.tags.insert(tag.to_owned(), digest.clone());
        self.0.insert(repository.to_owned(), content);
        Ok(digest)
    }
}

impl Repository {
    pub(crate) fn add_blob(&mut self, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = encoding::digest(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Marks a blob as a manifest.
    pub(crate) fn add_manifest(&mut self, digest: &str, media_type: &str) {
        self.media_types
            .insert(digest.to_owned(), media_type.to_owned());
    }

    pub(crate) fn answer_every_tag_with(&mut self, digest: String) {
        self.every_tag = Some(digest);
    }

    /// The manifest of a tag or a digest.
    pub(crate) fn manifest(&self, reference: &str) -> Option<Manifest> {
        let digest = if reference.starts_with("sha256:") {
            reference
        } else {
            self.tags.get(reference).or(self.every_tag.as_ref())?
        };
        let media_type = self.media_types.get(digest)?.clone();
        let bytes = self.blobs.get(digest)?.clone();
        Some(Manifest {
            digest: digest.to_owned(),
            media_type,
            bytes,
        })
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.blobs.get(digest).cloned()
    }

    fn add_layout(&mut self, tag: &str, archive: &[u8]) -> Result<String, LayoutError> {
        let mut index = None;
        let mut is_layout = false;
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let path = path.strip_prefix("./").unwrap_or(&path);
            match path.strip_prefix("blobs/sha256/") {
                Some(hash) => {
                    if self.add_blob(bytes) != format!("sha256:{hash}") {
                        return Err(LayoutError::Digest(hash.to_owned()));
                    }
                }
                None if path == "index.json" => index = Some(bytes),
                None => is_layout |= path == "oci-layout",
            }
        }
        if !is_layout {
            return Err(LayoutError::Missing("oci-layout".to_owned()));
        }
        let index_bytes = index.ok_or_else(|| LayoutError::Missing("index.json".to_owned()))?;
        let index = read_index("index.json", &index_bytes)?;
        self.add_index(&index)?;

        let named = |descriptor: &&Descriptor| {
            descriptor
                .annotations
                .get("org.opencontainers.image.ref.name")
                .is_some_and(|name| name == tag)
        };
        match index.manifests.as_slice() {
            [] => Err(LayoutError::Empty),
            [only] => Ok(only.digest.clone()),
            many => Ok(match many.iter().find(named) {
                Some(descriptor) => descriptor.digest.clone(),
                // No manifest has the tag's name, so the tag is the index: one image for several platforms.
                None => {
                    let digest = self.add_blob(index_bytes);
                    self.add_manifest(&digest, INDEX);
                    digest
                }
            }),
        }
    }

    /// Records the media types of all manifests, including those of nested indexes.
    fn add_index(&mut self, index: &Index) -> Result<(), LayoutError> {
        for descriptor in &index.manifests {
            let Descriptor {
                media_type, digest, ..
            } = descriptor;
            let bytes = self
                .blobs
                .get(digest)
                .cloned()
                .ok_or_else(|| LayoutError::Missing(digest.clone()))?;
            self.add_manifest(digest, media_type);
            if media_type == INDEX || media_type.contains("manifest.list") {
                self.add_index(&read_index(digest, &bytes)?)?;
            }
        }
        Ok(())
    }
}

fn read_index(name: &str, bytes: &[u8]) -> Result<Index, LayoutError> {
    serde_json::from_slice(bytes).map_err(|error| LayoutError::Json {
        name: name.to_owned(),
        error,
    })
}
