//! The files of an archive, kept aside.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use conex_archive::{ArchiveError, Kind, Limits, TarReader, read_error};
use conex_content::{Aside, Content};
use conex_reference::Digest;
use conex_stream::ChunkReader;

use crate::error::{LoadError, PullError};

/// Largest JSON file of an archive that is parsed.
const LARGEST_JSON: u64 = 8 << 20;

/// Files and links of an archive, and bytes of a name of one with what it links to: they are held in memory.
const MOST_FILES: usize = 1 << 17;
const LONGEST_NAME: usize = 1024;

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
        self.by_path.contains_key(self.followed(path))
    }

    /// A file, which has to be what its name says where that is a digest.
    pub(super) fn find(&self, path: &str) -> Result<&Arc<Aside>, LoadError> {
        let path = self.followed(path);
        let missing = || LoadError::Missing { path: path.to_owned() };
        let file = self.by_path.get(path).ok_or_else(missing)?;
        match promised(path) {
            Some(digest) if digest != *file.digest() => Err(LoadError::Digest {
                path: path.to_owned(),
                actual: *file.digest(),
            }),
            _ => Ok(file),
        }
    }

    fn followed<'a>(&'a self, path: &'a str) -> &'a str {
        self.links.get(path).map_or(path, String::as_str)
    }

    /// The bytes of a file that is parsed.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        let file = self.find(path)?;
        if file.size() > LARGEST_JSON {
            return Err(LoadError::TooLarge {
                path: path.to_owned(),
                limit: LARGEST_JSON,
            });
        }
        Ok(file.read().map_err(PullError::from)?)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        serde_json::from_slice(&self.read(path)?).map_err(|source| LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }
}

/// The digest that a file of this name must have: that of a blob of an OCI layout, and of a configuration as `docker save`
/// writes it.
fn promised(path: &str) -> Option<Digest> {
    let hex = match path.strip_prefix("blobs/sha256/") {
        Some(hex) => hex,
        None => path.strip_suffix(".json")?,
    };
    Digest::parse(&format!("sha256:{hex}")).ok()
}

pub(super) fn read_archive(chunks: ChunkReader, content: &Content, limits: Limits) -> Result<Files, LoadError> {
    let source = BufReader::with_capacity(64 * 1024, chunks);
    // A layer is bounded, not how many there are.
    let within = Limits {
        size: u64::MAX,
        ..limits
    };
    let archive = conex_archive::decompressed(source, within).map_err(read_error)?;
    read_members(archive, content, limits.size)
}

fn read_members(source: impl BufRead, content: &Content, largest: u64) -> Result<Files, LoadError> {
    let mut archive = TarReader::new(source);
    let mut files = Files::default();
    let mut member = 0;
    while let Some(entry) = archive.next_entry()? {
        member += 1;
        let path = clean(&entry.path);
        let length = path.len() + entry.link.len();
        if length > LONGEST_NAME {
            return Err(LoadError::LongName { member, length });
        }
        if files.by_path.len() + files.links.len() >= MOST_FILES {
            return Err(LoadError::TooMany {
                path,
                limit: MOST_FILES,
            });
        }
        match entry.kind {
            Kind::File if entry.sparse.is_some() => {
                let what = "a sparse file".to_owned();
                return Err(ArchiveError::Unsupported { path, what }.into());
            }
            Kind::File if entry.size > largest => return Err(LoadError::TooLarge { path, limit: largest }),
            Kind::File => {
                let mut ingest = content.ingest().map_err(PullError::from)?;
                let mut block = vec![0; 128 * 1024];
                loop {
                    match archive.read_contents(&mut block)? {
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
    // The sums of what is compressed may stand behind the archive's end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read_error)?;
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
