//! One layer's pipeline: blob digest, decompression, diff id and extraction, all while it arrives.
//!
//! ```text
//!   chunks --> thread 1: sha256 of the blob, decompress --> blocks --> thread 2: sha256 diff id, extract
//! ```
//!
//! A layer that is made here comes in at the second queue: thread 1 writes its archive.
//!
//! Both queues are bounded: a slow disk slows the download down instead of filling the memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;

use bytes::Bytes;
use conex_archive::{ExtractError, Extracted, Limits, SkeletonWriter, decompressed, extract_layer, read_error};
use conex_content::Partial;
use conex_stream::ChunkReader;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::error::LayerError;
use crate::kept::Kept;

/// Blocks of the archive that wait for extraction, and the size of each.
const BLOCKS: usize = 8;
const BLOCK: usize = 128 * 1024;

/// Called with the number of the blob's bytes that were unpacked so far.
pub(crate) type Unpacked = Arc<dyn Fn(u64) + Send + Sync>;

/// What is known of the blob before it arrives.
#[derive(Debug)]
pub(crate) enum Arriving {
    /// Its digest, which is compared. What arrives follows what there is of it, and is kept with that.
    Promised(Option<Partial>),
    /// Nothing, and it is not compressed: its digest is that of the archive, even of one that cannot be unpacked.
    Plain,
    /// Nothing, and nobody asks for its digest.
    Unknown,
}

/// What a pipeline comes to.
pub(crate) struct Outcome {
    /// `sha256:...` of the blob, where it is taken.
    pub(crate) blob: Option<String>,
    /// Bytes of the blob.
    pub(crate) size: u64,
    /// What the archive was.
    pub(crate) archive: Result<Archive, LayerError>,
}

impl Outcome {
    /// Another like it, if the archive was unpacked.
    pub(crate) fn copy(&self) -> Option<Self> {
        let archive = self.archive.as_ref().ok()?.clone();
        Some(Self {
            blob: self.blob.clone(),
            size: self.size,
            archive: Ok(archive),
        })
    }

    /// The blob's digest, where it is known.
    pub(crate) fn digest(&self) -> Option<conex_reference::Digest> {
        conex_reference::Digest::parse(self.blob.as_ref()?).ok()
    }
}

/// An archive that was unpacked.
#[derive(Clone)]
pub(crate) struct Archive {
    /// What it held.
    pub(crate) extracted: Extracted,
    /// Its `sha256:...`.
    pub(crate) diff_id: String,
    /// Whether its skeleton is whole.
    pub(crate) has_skeleton: bool,
}

/// A running pipeline. Dropping its sender before the end of the blob makes the extraction fail.
pub(crate) struct Pipeline {
    /// Where the blob's chunks go; an error stops everything.
    pub(crate) chunks: mpsc::Sender<io::Result<Bytes>>,
    /// What becomes of it.
    pub(crate) outcome: tokio::task::JoinHandle<Result<Outcome, LayerError>>,
}

/// Starts a pipeline into an empty directory.
pub(crate) fn start(root: OwnedFd, skeleton: File, blob: Arriving, limits: Limits, unpacked: Unpacked) -> Pipeline {
    let (chunks, arriving) = ChunkReader::new();
    let (blocks, decompressed) = blocking::sync_channel(BLOCKS);
    let is_plain = matches!(blob, Arriving::Plain);
    let first = tokio::task::spawn_blocking(move || decompress(blob, arriving, limits, &blocks, &unpacked));
    let second = tokio::task::spawn_blocking(move || {
        let mut archive = Blocks::new(decompressed);
        let extracted = extract(&mut archive, &root, skeleton, limits);
        let digest = is_plain.then(|| archive.digest());
        (extracted, digest.flatten())
    });
    let outcome = tokio::spawn(async move {
        let (second, digest) = second.await.map_err(|_| LayerError::CutOff)?;
        let blob = first.await.map_err(|_| LayerError::CutOff)?;
        let blob = blob?;
        Ok(Outcome {
            blob: blob.digest.or(digest),
            size: blob.size,
            // Compression that is wrong explains an archive that could not be read.
            archive: blob.fault.map_or(second, |fault| Err(unreadable(fault))),
        })
    });
    Pipeline { chunks, outcome }
}

/// Writes the archive of a layer.
pub type WriteArchive = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Unpacks an archive into an empty directory while it is written.
pub(crate) async fn run_written(root: OwnedFd, skeleton: File, write: WriteArchive) -> Result<Archive, LayerError> {
    let (blocks, written) = blocking::sync_channel(BLOCKS);
    let first = tokio::task::spawn_blocking(move || {
        let mut output = Writer {
            blocks,
            block: Vec::with_capacity(BLOCK),
        };
        let outcome = write(&mut output).and_then(|()| output.flush());
        if let Err(error) = &outcome {
            // An archive that breaks off must not be taken for one that ends.
            let _ = output.blocks.send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        outcome
    });
    let second = tokio::task::spawn_blocking(move || extract(&mut Blocks::new(written), &root, skeleton, Limits::NONE));
    let (first, second) = (first.await, second.await.map_err(|_| LayerError::CutOff)?);
    match first.map_err(|_| LayerError::CutOff)? {
        Ok(()) => second,
        // Whoever unpacks has given up, and tells why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => second,
        Err(error) => Err(LayerError::Pack(error)),
    }
}

/// Sends what is written as blocks.
struct Writer {
    blocks: blocking::SyncSender<Block>,
    block: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let sent = self.blocks.send(Ok(block));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

type Block = io::Result<Vec<u8>>;

/// A blob that was read to its end.
struct Blob {
    digest: Option<String>,
    size: u64,
    /// Why it could not be decompressed.
    fault: Option<io::Error>,
}

fn unreadable(error: io::Error) -> LayerError {
    LayerError::Extract(ExtractError::Archive(read_error(error)))
}

/// Decompresses what arrives, and reads it to its end in any case: its digest says whether it is what was promised.
fn decompress(
    blob: Arriving,
    arriving: ChunkReader,
    limits: Limits,
    blocks: &blocking::SyncSender<Block>,
    unpacked: &Unpacked,
) -> Result<Blob, LayerError> {
    let (partial, hash) = match blob {
        Arriving::Promised(partial) => (partial, Some(Sha256::new())),
        Arriving::Plain | Arriving::Unknown => (None, None),
    };
    let inner = Kept::new(partial, arriving).map_err(unreadable)?;
    let source = Hashed {
        inner,
        hash,
        count: Arc::default(),
    };
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let fault = pump(&mut source, limits, blocks, unpacked).err();
    if let Some(error) = &fault {
        // The other thread may have given up already, for a reason of its own.
        let _ = blocks.send(Err(io::Error::new(error.kind(), error.to_string())));
    }
    drain(&mut source).map_err(unreadable)?;
    let source = source.into_inner();
    Ok(Blob {
        digest: source.hash.map(render),
        size: source.count.load(Ordering::Relaxed),
        fault,
    })
}

/// Sends the archive on, block by block.
fn pump<R: Read>(
    source: &mut BufReader<Hashed<R>>,
    limits: Limits,
    blocks: &blocking::SyncSender<Block>,
    unpacked: &Unpacked,
) -> io::Result<()> {
    let read = source.get_ref().count.clone();
    let mut archive = decompressed(source, limits)?;
    loop {
        let mut block = vec![0; BLOCK];
        let mut filled = 0;
        // A block is sent as soon as nothing more is there at once, so that a stalling registry's files are seen.
        while filled < BLOCK {
            match archive.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(more) => {
                    filled += more;
                    if filled >= LEAST {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        block.truncate(filled);
        unpacked(read.load(Ordering::Relaxed));
        if blocks.send(Ok(block)).is_err() {
            // Extraction failed; it tells why.
            return Ok(());
        }
    }
}

/// Bytes of a block that are worth being sent.
const LEAST: usize = 32 * 1024;

/// What follows the compressed stream belongs to the blob's digest.
fn drain<R: Read>(source: &mut BufReader<Hashed<R>>) -> io::Result<()> {
    io::copy(source, &mut io::sink()).map(|_| ())
}

/// Unpacks the archive; returns its digest.
fn extract(archive: &mut Blocks, root: &OwnedFd, skeleton: File, limits: Limits) -> Result<Archive, LayerError> {
    let mut skeleton = SkeletonWriter::new(skeleton).map_err(LayerError::Skeleton)?;
    let extracted = extract_layer(&mut *archive, root.as_fd(), Some(&mut skeleton), limits)?;
    Ok(Archive {
        extracted,
        has_skeleton: skeleton.finish().map_err(LayerError::Skeleton)?,
        diff_id: render(archive.hash.clone()),
    })
}

/// The digest of a blob that arrives, after what there is of it, and that is kept with that.
pub(crate) fn digest_kept(partial: Partial, arriving: ChunkReader) -> Result<conex_reference::Digest, LayerError> {
    let mut kept = Kept::new(Some(partial), arriving).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BLOCK];
    loop {
        match kept.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(conex_reference::Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn render(hash: Sha256) -> String {
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// Counts what is read, and hashes it where its digest is wanted.
struct Hashed<R> {
    inner: R,
    hash: Option<Sha256>,
    /// Whoever decompresses has the reader, and somebody else asks.
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Reads blocks from the queue, hashing each as it comes.
struct Blocks {
    blocks: blocking::Receiver<Block>,
    current: Vec<u8>,
    position: usize,
    hash: Sha256,
}

impl Blocks {
    fn new(blocks: blocking::Receiver<Block>) -> Self {
        Self {
            blocks,
            current: Vec::new(),
            position: 0,
            hash: Sha256::new(),
        }
    }

    /// The digest of all blocks, those that are left included; nothing where they break off.
    fn digest(mut self) -> Option<String> {
        io::copy(&mut self, &mut io::sink()).ok()?;
        Some(render(self.hash))
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            match self.blocks.recv() {
                Ok(block) => {
                    self.current = block?;
                    self.position = 0;
                    self.hash.update(&self.current);
                }
                Err(_) => return Ok(&[]),
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.current.len());
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
