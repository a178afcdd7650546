//! Whether what is on disk is what its names say.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use conex_reference::Digest;
use sha2::{Digest as _, Sha256};

use crate::layout::NEW_INDEX;
use crate::store::{Content, ContentError, file};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Whether a name is one of a directory's own.
type IsOurs<'a> = &'a dyn Fn(&str) -> bool;

impl Content {
    /// Whether a blob has the digest that its name says. All of it is read.
    pub fn verify(&self, digest: &Digest) -> Result<bool, ContentError> {
        let path = self.path(digest);
        let mut blob = self.open_blob(digest)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into()) == *digest),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(file("read", &path)(error)),
            }
        }
    }

    /// Files that have no name of the store's, as paths below it.
    pub fn strays(&self) -> Result<Vec<String>, ContentError> {
        let is_digest = |name: &str| Digest::parse(&format!("sha256:{name}")).is_ok();
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let own = ["blobs", "ingest", "partial", "oci-layout", "index.json", NEW_INDEX];
        let mut strays = Vec::new();
        let directories: [(&str, IsOurs<'_>); 5] = [
            ("", &|name| own.contains(&name)),
            ("blobs", &|name| name == "sha256"),
            ("blobs/sha256", &is_digest),
            ("ingest", &is_number),
            ("partial", &is_digest),
        ];
        for (directory, is_ours) in directories {
            let path = self.shared.root.join(directory);
            for entry in fs::read_dir(&path).map_err(file("read", &path))? {
                let name = entry.map_err(file("read", &path))?.file_name();
                if !name.to_str().is_some_and(is_ours) {
                    let stray = Path::new(directory).join(name);
                    strays.push(stray.to_string_lossy().into_owned());
                }
            }
        }
        strays.sort();
        Ok(strays)
    }

    /// Removes a file or directory that is none of the store's, by its path below it.
    pub fn remove_stray(&self, stray: &str) -> Result<(), ContentError> {
        let path = self.shared.root.join(stray);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let removed = if is_directory {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(file("remove", &path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_flipped_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::open(dir.path()).unwrap();
        let digest = content.put(b"blob").unwrap();
        assert!(content.verify(&digest).unwrap());
        fs::write(content.path(&digest), b"clob").unwrap();
        assert!(!content.verify(&digest).unwrap());
        content.remove(&digest).unwrap();
        assert_eq!(content.verify(&digest).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_not_the_stores_is_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::open(dir.path()).unwrap();
        content.put(b"blob").unwrap();
        content.write_index(b"{}").unwrap();
        drop(content.partial(&Digest::of(b"other"), 4).unwrap());
        let _ingest = content.ingest().unwrap();
        assert_eq!(content.strays().unwrap(), [""; 0]);
        fs::write(dir.path().join("partial/x"), "").unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha512/y")).unwrap();
        assert_eq!(content.strays().unwrap(), ["blobs/sha512", "partial/x"]);
        for stray in content.strays().unwrap() {
            content.remove_stray(&stray).unwrap();
        }
        assert_eq!(content.strays().unwrap(), [""; 0]);
    }
}
