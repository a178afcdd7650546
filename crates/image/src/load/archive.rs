//! The files of an archive, kept aside.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conex_archive::{ArchiveError, Compression, Kind, Limits, TarReader, read_error};
use conex_content::{Aside, Spool};
use conex_reference::Digest;
use conex_snapshot::Staging;
use conex_stream::ChunkReader;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{LayerError, LoadError, PullError};
use crate::index::Shared;
use crate::layers::{Ready, stage};
use crate::pipeline::{self, Arriving, Outcome};

/// Largest JSON file of an archive that is parsed.
const LARGEST_JSON: u64 = 8 << 20;

/// Files and links of an archive, and bytes of a name of one with what it links to: they are held in memory.
const MOST_FILES: usize = 1 << 17;
const LONGEST_NAME: usize = 1024;

/// The files of an archive.
#[derive(Default)]
pub(super) struct Files {
    by_path: HashMap<String, Arc<Aside>>,
    /// What of them was unpacked.
    unpacked: HashMap<String, Unpacked>,
    /// Symbolic links: old archives share layers by them.
    links: HashMap<String, String>,
}

/// A layer that was unpacked while it arrived, for the first that asks.
pub(super) type Unpacked = Arc<Mutex<Option<Ready>>>;

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

    /// What was unpacked of a layer.
    pub(super) fn ready(&self, path: &str) -> Option<Unpacked> {
        self.unpacked.get(self.followed(path)).cloned()
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

/// Reads an archive of images to its end.
pub(super) fn read_archive(chunks: ChunkReader, shared: &Shared) -> Result<Files, LoadError> {
    let limits = shared.settings.limits;
    let source = BufReader::with_capacity(BLOCK, chunks);
    // A layer is bounded, not how many there are.
    let within = Limits {
        size: u64::MAX,
        ..limits
    };
    let archive = conex_archive::decompressed(source, within).map_err(read_error)?;
    let mut reading = Reading {
        shared,
        files: Files::default(),
        begun: VecDeque::new(),
    };
    let read = reading.members(archive);
    // Nobody removes what others are still unpacking.
    let settled = reading.settle(0);
    read.and(settled)?;
    Ok(reading.files)
}

/// Bytes that are read at a time.
const BLOCK: usize = 128 * 1024;

/// Layers that are being unpacked while the next one arrives.
const BESIDE: usize = 2;

/// An archive on its way.
struct Reading<'a> {
    shared: &'a Shared,
    files: Files,
    /// Layers that are still being unpacked, the first to have come first.
    begun: VecDeque<Begun>,
}

/// A layer that has come and is being unpacked.
struct Begun {
    path: String,
    spool: Spool,
    staging: Staging,
    outcome: JoinHandle<Result<Outcome, LayerError>>,
}

impl Reading<'_> {
    fn members(&mut self, source: impl BufRead) -> Result<(), LoadError> {
        let largest = self.shared.settings.limits.size;
        let mut archive = TarReader::new(source);
        let mut member = 0;
        while let Some(entry) = archive.next_entry()? {
            member += 1;
            let path = clean(&entry.path);
            let length = path.len() + entry.link.len();
            if length > LONGEST_NAME {
                return Err(LoadError::LongName { member, length });
            }
            if self.files.by_path.len() + self.begun.len() + self.files.links.len() >= MOST_FILES {
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
                Kind::File => self.file(path, &mut archive)?,
                Kind::Symlink | Kind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.link).into_owned();
                    self.files.links.insert(path.clone(), resolve(&path, &target));
                }
                _ => {}
            }
        }
        // The sums of what is compressed may stand behind the archive's end.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read_error)?;
        Ok(())
    }

    /// Keeps a file, and unpacks it where it looks like a layer that is not here.
    fn file(&mut self, path: String, archive: &mut TarReader<impl BufRead>) -> Result<(), LoadError> {
        let first = block(archive)?;
        let is_compressed = Compression::of(&first) != Compression::None;
        if (is_compressed || is_archive(&first)) && !self.is_here(&path) {
            return self.layer(path, first, is_compressed, archive);
        }
        let mut ingest = self.shared.content.ingest().map_err(PullError::from)?;
        let mut next = first;
        while !next.is_empty() {
            ingest.append(&next).map_err(PullError::from)?;
            next = block(archive)?;
        }
        self.files.by_path.insert(path, Arc::new(ingest.keep_aside()));
        Ok(())
    }

    /// Whether the name promises a layer that need not be unpacked.
    fn is_here(&self, path: &str) -> bool {
        let is_known = |digest: Digest| self.shared.index().layers.contains_key(&digest.to_string());
        !self.shared.snapshots.binds_layers() && promised(path).is_some_and(is_known)
    }

    /// Keeps a layer and unpacks it meanwhile.
    fn layer(
        &mut self,
        path: String,
        first: Vec<u8>,
        is_compressed: bool,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), LoadError> {
        self.settle(BESIDE - 1)?;
        let mut spool = self.shared.content.spool().map_err(PullError::from)?;
        let (staging, root, skeleton) = stage(&self.shared.snapshots).map_err(PullError::from)?;
        // What is not compressed has its diff id as digest.
        let arriving = if is_compressed {
            Arriving::Promised(None)
        } else {
            Arriving::Unknown
        };
        let pipeline = pipeline::start(root, skeleton, arriving, self.shared.settings.limits, Arc::new(|_| ()));
        let mut next = first;
        let mut fed = Ok(());
        while !next.is_empty() && fed.is_ok() {
            let chunk = Bytes::from(next);
            fed = spool.append(&chunk).map_err(|error| PullError::from(error).into());
            // One that has ended for a reason of its own tells it to whoever asks for the layer.
            let _ = pipeline.chunks.blocking_send(Ok(chunk));
            next = match block(archive) {
                Ok(next) => next,
                Err(error) => {
                    fed = Err(error);
                    Vec::new()
                }
            };
        }
        drop(pipeline.chunks);
        self.begun.push_back(Begun {
            path,
            spool,
            staging,
            outcome: pipeline.outcome,
        });
        fed
    }

    /// Waits until so many layers are left that are being unpacked.
    fn settle(&mut self, left: usize) -> Result<(), LoadError> {
        let mut settled = Ok(());
        while self.begun.len() > left {
            let Some(begun) = self.begun.pop_front() else { break };
            let outcome = Handle::current().block_on(begun.outcome);
            let outcome = outcome.unwrap_or(Err(LayerError::CutOff));
            let digest = outcome.as_ref().ok().and_then(Outcome::digest);
            match begun.spool.finish(digest) {
                Ok(aside) => {
                    let staging = begun.staging;
                    let unpacked = Arc::new(Mutex::new(Some(Ready { staging, outcome })));
                    self.files.by_path.insert(begun.path.clone(), Arc::new(aside));
                    self.files.unpacked.insert(begun.path, unpacked);
                }
                Err(error) => settled = Err(PullError::from(error).into()),
            }
        }
        settled
    }
}

/// The next bytes of a member; none at its end.
fn block(archive: &mut TarReader<impl BufRead>) -> Result<Vec<u8>, LoadError> {
    let mut block = vec![0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match archive.read_contents(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    block.truncate(filled);
    Ok(block)
}

/// Whether these bytes begin a tar archive: by its magic (POSIX.1-2017, pax, "ustar Interchange Format"), or as one without
/// members.
fn is_archive(first: &[u8]) -> bool {
    let header = first.get(..512);
    header.is_some_and(|header| &header[257..262] == b"ustar" || header.iter().all(|byte| *byte == 0))
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
