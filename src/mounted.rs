//! A mounted Secret or ConfigMap, read as one version.
//!
//! The kubelet writes each version into a directory of its own and then swaps the link `..data`.
//! Reading the visible names one by one could mix two versions.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The link that the kubelet swaps when the content of the volume changes.
const VERSION_LINK: &str = "..data";

/// A file of a volume that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub(crate) struct MountedError {
    /// The visible path: without the name of the version, so that equal failures look equal.
    path: PathBuf,
    source: io::Error,
}

impl PartialEq for MountedError {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.source.to_string() == other.source.to_string()
    }
}

/// A directory that the kubelet mounts, or any other directory.
#[derive(Debug)]
pub(crate) struct MountedVolume {
    directory: PathBuf,
}

impl MountedVolume {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Reads these files, all of the same version.
    ///
    /// # Errors
    ///
    /// [`MountedError`] names the first file that cannot be read.
    pub(crate) fn read<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Vec<u8>; N], MountedError> {
        // The kubelet removes the old version after a swap, perhaps between two of these reads.
        self.read_version(names)
            .or_else(|_| self.read_version(names))
    }

    fn read_version<const N: usize>(&self, names: [&str; N]) -> Result<[Vec<u8>; N], MountedError> {
        let version = fs::canonicalize(self.directory.join(VERSION_LINK));
        let version = version.unwrap_or_else(|_| self.directory.clone());
        let mut contents = [const { Vec::new() }; N];
        for (content, name) in contents.iter_mut().zip(names) {
            *content = fs::read(version.join(name)).map_err(|source| MountedError {
                path: self.directory.join(name),
                source,
            })?;
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_come_from_one_version() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path();
        fs::create_dir(root.join("..version-1")).unwrap();
        symlink("..version-1", root.join(VERSION_LINK)).unwrap();
        for name in ["one", "two"] {
            fs::write(root.join("..version-1").join(name), name).unwrap();
            // A reader that follows the visible names finds this.
            fs::write(root.join(name), "another version").unwrap();
        }
        let read = MountedVolume::new(root).read(["one", "two"]).unwrap();
        assert_eq!(read, [b"one", b"two"]);
    }

    #[test]
    fn plain_directory_is_read_by_its_names() {
        let volume = tempfile::tempdir().unwrap();
        fs::write(volume.path().join("one"), "one").unwrap();
        let volume = MountedVolume::new(volume.path());
        assert_eq!(volume.read(["one"]).unwrap(), [b"one"]);
        let missing = volume.read(["one", "two"]).unwrap_err();
        assert_eq!(missing, volume.read(["two"]).unwrap_err());
        assert!(missing.to_string().contains("two"), "{missing}");
    }
}
