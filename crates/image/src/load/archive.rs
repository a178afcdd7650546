//! An archive of images on its way in.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use bytes::Bytes;
use conex_archive::{ArchiveError, Compression, Kind, Limits, TarReader, read_error};
use conex_content::Spool;
use conex_reference::Digest;
use conex_snapshot::Staging;
use conex_stream::ChunkReader;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use sha2::{Digest as _, Sha256};

use crate::arrived::{Arrived, Unpacked};
use crate::error::{LayerError, LoadError, PullError};
use crate::held::Held;
use crate::images::{Images, Keep};
use crate::layers::stage;
use crate::load::files::{Files, Member, promised};
use crate::pipeline::{self, Arriving, Outcome};

/// Files and links of an archive, and bytes of a name of one with what it links to: they are held in memory.
const MOST_FILES: usize = 1 << 17;
const LONGEST_NAME: usize = 1024;

/// Reads an archive of images to its end.
pub(super) fn read_archive(chunks: ChunkReader, images: &Images) -> Result<Files, LoadError> {
    let limits = images.shared.settings.limits;
    let source = BufReader::with_capacity(BLOCK, chunks);
    // A layer is bounded, not how many there are.
    let within = Limits {
        size: u64::MAX,
        ..limits
    };
    let archive = conex_archive::decompressed(source, within).map_err(read_error)?;
    let mut reading = Reading {
        images,
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
    images: &'a Images,
    files: Files,
    /// Layers that are still being unpacked, the first to have come first.
    begun: VecDeque<Begun>,
}

/// A layer that has come and is being unpacked.
struct Begun {
    path: String,
    size: u64,
    /// Its bytes, where they are kept.
    spool: Option<Spool>,
    staging: Staging,
    outcome: JoinHandle<Result<Outcome, LayerError>>,
}

impl Reading<'_> {
    fn members(&mut self, source: impl BufRead) -> Result<(), LoadError> {
        let largest = self.images.shared.settings.limits.size;
        let mut archive = TarReader::new(source);
        let mut member = 0;
        while let Some(entry) = archive.next_entry()? {
            member += 1;
            let path = clean(&entry.path);
            let length = path.len() + entry.link.len();
            if length > LONGEST_NAME {
                return Err(LoadError::LongName { member, length });
            }
            if self.files.len() + self.begun.len() >= MOST_FILES {
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
                    self.files.link(path.clone(), resolve(&path, &target));
                }
                _ => {}
            }
        }
        // The sums of what is compressed may stand behind the archive's end.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read_error)?;
        Ok(())
    }

    /// Keeps a document; unpacks what looks like a layer, unless it is here.
    fn file(&mut self, path: String, archive: &mut TarReader<impl BufRead>) -> Result<(), LoadError> {
        let first = block(archive)?;
        let is_compressed = Compression::of(&first) != Compression::None;
        if !is_compressed && !is_archive(&first) {
            return self.document(path, first, archive);
        }
        match self.held(&path) {
            Some(layer) => self.known_layer(path, layer, first, archive),
            None => self.layer(path, first, is_compressed, archive),
        }
    }

    /// Keeps a file aside.
    fn document(
        &mut self,
        path: String,
        first: Vec<u8>,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), LoadError> {
        let mut ingest = self.images.shared.content.ingest().map_err(PullError::from)?;
        blocks(first, archive, |bytes| {
            Ok(ingest.append(bytes).map_err(PullError::from)?)
        })?;
        self.files.insert(path, Member::aside(ingest.keep_aside()));
        Ok(())
    }

    /// The layer that the name promises, where it is here and need not be unpacked.
    fn held(&self, path: &str) -> Option<Held> {
        let shared = &self.images.shared;
        if shared.snapshots.binds_layers() {
            return None;
        }
        let key = promised(path)?.to_string();
        Handle::current().block_on(self.images.hold_layer(&[&key]))
    }

    /// Compares a layer that is here with what its name promises.
    fn known_layer(
        &mut self,
        path: String,
        layer: Held,
        first: Vec<u8>,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), LoadError> {
        self.files.hold(layer);
        if self.images.shared.settings.keep == Keep::Always {
            return self.document(path, first, archive);
        }
        let (mut hash, mut size) = (Sha256::new(), 0);
        blocks(first, archive, |bytes| {
            size += bytes.len() as u64;
            hash.update(bytes);
            Ok(())
        })?;
        let member = Member {
            digest: Some(Digest::from_bytes(hash.finalize().into())),
            size,
            aside: None,
            layer: None,
        };
        self.files.insert(path, member);
        Ok(())
    }

    /// Unpacks a layer while it comes.
    fn layer(
        &mut self,
        path: String,
        first: Vec<u8>,
        is_compressed: bool,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), LoadError> {
        self.settle(BESIDE - 1)?;
        let shared = &self.images.shared;
        let keeps = shared.settings.keep == Keep::Always;
        let spool = keeps.then(|| shared.content.spool()).transpose();
        let mut spool = spool.map_err(PullError::from)?;
        let (staging, root, skeleton) = stage(&shared.snapshots).map_err(PullError::from)?;
        let arriving = if is_compressed {
            Arriving::Promised(None)
        } else {
            Arriving::Plain
        };
        let pipeline = pipeline::start(root, skeleton, arriving, shared.settings.limits, Arc::new(|_| ()));
        let mut size = 0;
        let fed = blocks(first, archive, |bytes| {
            size += bytes.len() as u64;
            if let Some(spool) = &mut spool {
                spool.append(bytes).map_err(PullError::from)?;
            }
            // One that has ended for a reason of its own tells it to whoever asks for the layer.
            let _ = pipeline.chunks.blocking_send(Ok(bytes.clone()));
            Ok(())
        });
        drop(pipeline.chunks);
        self.begun.push_back(Begun {
            path,
            size,
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
            let mut digest = outcome.as_ref().ok().and_then(Outcome::digest);
            let aside = match begun.spool.map(|spool| spool.finish(digest)).transpose() {
                Ok(aside) => aside.map(Arc::new),
                Err(error) => {
                    settled = Err(PullError::from(error).into());
                    continue;
                }
            };
            self.images.write_back(begun.size);
            digest = digest.or(aside.as_ref().map(|aside| *aside.digest()));
            let staging = begun.staging;
            let member = Member {
                digest,
                size: begun.size,
                aside,
                layer: Some(Arc::new(Arrived::new(Unpacked { staging, outcome }))),
            };
            self.files.insert(begun.path, member);
        }
        settled
    }
}

/// Passes the contents of a member on, the first of which were read.
fn blocks(
    first: Vec<u8>,
    archive: &mut TarReader<impl BufRead>,
    mut take: impl FnMut(&Bytes) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut next = first;
    while !next.is_empty() {
        take(&Bytes::from(next))?;
        next = block(archive)?;
    }
    Ok(())
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
