//! The files of an archive, kept aside.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use conex_archive::{ArchiveError, Kind, TarReader};
use conex_content::{Aside, Content};
use conex_reference::Digest;
use conex_stream::ChunkReader;

use crate::error::{LoadError, PullError};

/// Largest JSON file of an archive that is parsed.
const LARGEST_JSON: u64 = 8 << 20;

/// The files of an archive.
#[derive(Default)]
pub(super) struct Files {
    by_path: HashMap<String, Arc<Aside>>,
    /// Symbolic links: old archives share layers by them.
    links: HashMap<String, String>,
}

impl Files {
    /// Whether there is a file of this path.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.find(path).is_ok()
    }

    /// A file of an OCI layout, which has to be what its name says.
    pub(super) fn blob(&self, digest: &Digest) -> Result<&Arc<Aside>, LoadError> {
        let path = blob_path(digest);
        let file = self.find(&path)?;
        if file.digest() != digest {
            return Err(LoadError::Digest {
                path,
                actual: *file.digest(),
            });
        }
        Ok(file)
    }

    pub(super) fn find(&self, path: &str) -> Result<&Arc<Aside>, LoadError> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.by_path
            .get(path)
            .ok_or_else(|| LoadError::Missing { path: path.to_owned() })
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        let file = self.find(path)?;
        if file.size() > LARGEST_JSON {
            return Err(LoadError::Missing { path: path.to_owned() });
        }
        let bytes = file.read().map_err(PullError::from)?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }
}

pub(super) fn read_archive(chunks: ChunkReader, content: &Content) -> Result<Files, LoadError> {
    let source = BufReader::with_capacity(64 * 1024, chunks);
    read_members(conex_archive::decompressed(source).map_err(LoadError::Read)?, content)
}

fn read_members(source: impl BufRead, content: &Content) -> Result<Files, LoadError> {
    let mut archive = TarReader::new(source);
    let mut files = Files::default();
    while let Some(entry) = archive.next_entry()? {
        let path = clean(&entry.path);
        match entry.kind {
            Kind::File if entry.sparse.is_some() => {
                let what = "a sparse file".to_owned();
                return Err(ArchiveError::Unsupported { path, what }.into());
            }
            Kind::File => {
                let mut ingest = content.ingest().map_err(PullError::from)?;
                let mut block = vec![0; 128 * 1024];
                loop {
                    match archive.read(&mut block).map_err(LoadError::Read)? {
                        0 => break,
                        count => ingest.append(&block[..count]).map_err(PullError::from)?,
                    }
                }
                files.by_path.insert(path, Arc::new(ingest.keep_aside()));
            }
            Kind::Symlink | Kind::HardLink => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                files.links.insert(path.clone(), resolve(&path, &target));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

/// A link's target, relative to the archive.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where an OCI layout has a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
