//! The skeleton of a layer's archive: all of it but the contents of its files, which lie in the unpacked layer. Both together
//! give the archive back, byte for byte.
//!
//! ```text
//!   zstd( "CNXSKEL1"  record ...  'E' size of the archive u64 )       numbers are little endian
//!
//!   'R' length u32, bytes            as they stand in the archive: headers, extensions, padding, what follows the end
//!   'F' length u32, path, size u64   the contents of a file, which are those of this path below the layer's root
//!   'L' length u32, path, size u64, bytes
//!                                    what the last 'F' of this path meant, as a later member has taken it away
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use zstd::stream::{read::Decoder, write::Encoder};

const MAGIC: &[u8; 8] = b"CNXSKEL1";

/// Fast, and headers are small with any.
const LEVEL: i32 = 1;

/// Bytes of one raw record.
const RUN: usize = 64 * 1024;

/// Longest path, and most bytes of contents that later members took away; an archive beyond them gets no skeleton.
const LONGEST_PATH: u64 = 1 << 16;
const MOST_LOST: u64 = 64 << 20;

/// Bytes of contents that are copied at once.
const CHUNK: usize = 128 * 1024;

/// Writes a skeleton while its archive is unpacked. What goes wrong is told at the end.
pub struct SkeletonWriter {
    encoder: Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
    /// Bytes of the archive so far.
    size: u64,
    lost: u64,
    failed: Option<io::Error>,
}

impl std::fmt::Debug for SkeletonWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SkeletonWriter")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl SkeletonWriter {
    /// Begins a skeleton in an empty file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(file: File) -> io::Result<Self> {
        let mut encoder = Encoder::new(BufWriter::new(file), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.write_all(MAGIC)?;
        Ok(Self {
            encoder,
            raw: Vec::with_capacity(RUN),
            size: 0,
            lost: 0,
            failed: None,
        })
    }

    /// Bytes that stand in the archive as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        for part in bytes.chunks(RUN) {
            if self.raw.len() + part.len() > RUN {
                self.flush();
            }
            self.raw.extend_from_slice(part);
        }
    }

    /// The contents of a file, which will be found at this path below the root.
    pub(crate) fn file(&mut self, path: &[u8], size: u64) {
        self.flush();
        self.size += size;
        self.named(b'F', path, size);
    }

    /// So many bytes of contents follow that will stand here and not only in a file.
    pub(crate) fn aside(&mut self, size: u64) {
        self.lost = self.lost.saturating_add(size);
        if self.lost > MOST_LOST {
            self.keep(Err(io::ErrorKind::FileTooLarge.into()));
        }
    }

    /// What has a path is taken away; its contents so far.
    pub(crate) fn lost(&mut self, path: &[u8], size: u64, contents: impl Read) {
        self.flush();
        self.lost = self.lost.saturating_add(size);
        if self.lost > MOST_LOST {
            // No skeleton is better than one that fills disk and memory.
            self.keep(Err(io::ErrorKind::FileTooLarge.into()));
            return;
        }
        self.named(b'L', path, size);
        let copied = io::copy(&mut contents.take(size), &mut self.encoder);
        self.keep(copied.and_then(|copied| if copied == size { Ok(()) } else { Err(short()) }));
    }

    /// Ends the skeleton. `false`: there is none, since the archive takes too much back of what it said before.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn finish(mut self) -> io::Result<bool> {
        self.flush();
        match self.failed {
            Some(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(false),
            Some(error) => return Err(error),
            None => {}
        }
        self.encoder.write_all(b"E")?;
        self.encoder.write_all(&self.size.to_le_bytes())?;
        self.encoder.finish()?.flush()?;
        Ok(true)
    }

    fn named(&mut self, tag: u8, path: &[u8], size: u64) {
        let length = u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes();
        let record = [&[tag], length.as_slice(), path, &size.to_le_bytes()].concat();
        let written = self.encoder.write_all(&record);
        self.keep(written);
    }

    fn flush(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        if self.failed.is_some() {
            self.raw.clear();
            return;
        }
        let length = u32::try_from(self.raw.len()).unwrap_or(u32::MAX).to_le_bytes();
        let written = self
            .encoder
            .write_all(b"R")
            .and_then(|()| self.encoder.write_all(&length));
        let written = written.and_then(|()| self.encoder.write_all(&self.raw));
        self.raw.clear();
        self.keep(written);
    }

    fn keep(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }
}

/// A skeleton that was written to its end.
#[derive(Debug)]
pub struct Skeleton {
    file: File,
    size: u64,
    /// Contents that later members took away, by the number of their 'F'.
    lost: HashMap<u64, Vec<u8>>,
}

impl Skeleton {
    /// Reads a skeleton through.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn open(file: File) -> io::Result<Self> {
        let mut skeleton = Self {
            file,
            size: 0,
            lost: HashMap::new(),
        };
        let mut records = skeleton.records()?;
        let (mut latest, mut number) = (HashMap::new(), 0);
        loop {
            match records.next()? {
                Record::Raw(_) => {}
                Record::File { path, .. } => {
                    latest.insert(path, number);
                    number += 1;
                }
                Record::Lost { path, contents } => {
                    // A name without one was another name of a file that is told elsewhere.
                    if let Some(number) = latest.remove(&path) {
                        skeleton.lost.insert(number, contents);
                    }
                }
                Record::End { size } => {
                    skeleton.size = size;
                    return Ok(skeleton);
                }
            }
        }
    }

    /// Bytes of the archive.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the archive, with the contents of files from the unpacked layer. Its digest is for the caller to check.
    ///
    /// # Errors
    /// A file is not there or shorter than it was, or something cannot be read or written.
    pub fn assemble(&self, root: BorrowedFd<'_>, output: &mut dyn Write) -> io::Result<()> {
        let mut records = self.records()?;
        let mut buffer = vec![0; CHUNK];
        let mut number = 0;
        loop {
            match records.next()? {
                Record::Raw(bytes) => output.write_all(&bytes)?,
                Record::File { path, size } => {
                    match self.lost.get(&number) {
                        Some(contents) => output.write_all(contents)?,
                        None => copy(open(root, &path)?, size, &mut buffer, output)?,
                    }
                    number += 1;
                }
                Record::Lost { .. } => {}
                Record::End { .. } => return Ok(()),
            }
        }
    }

    fn records(&self) -> io::Result<Records> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let mut input = Decoder::with_buffer(BufReader::new(file))?;
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged());
        }
        Ok(Records { input })
    }
}

fn open(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?.into())
}

fn copy(mut file: File, size: u64, buffer: &mut [u8], output: &mut dyn Write) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(CHUNK).min(buffer.len());
        let count = file.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(short());
        }
        output.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}

enum Record {
    Raw(Vec<u8>),
    File { path: Vec<u8>, size: u64 },
    Lost { path: Vec<u8>, contents: Vec<u8> },
    End { size: u64 },
}

struct Records {
    input: Decoder<'static, BufReader<File>>,
}

impl Records {
    fn next(&mut self) -> io::Result<Record> {
        let mut tag = [0];
        self.input.read_exact(&mut tag)?;
        Ok(match tag {
            [b'R'] => Record::Raw(self.bytes(RUN as u64)?),
            [b'F'] => Record::File {
                path: self.bytes(LONGEST_PATH)?,
                size: self.number()?,
            },
            [b'L'] => {
                let path = self.bytes(LONGEST_PATH)?;
                let size = self.number()?;
                Record::Lost {
                    path,
                    contents: self.exactly(size, MOST_LOST)?,
                }
            }
            [b'E'] => {
                let size = self.number()?;
                // The stream's own checksum stands at its end.
                io::copy(&mut self.input, &mut io::sink())?;
                Record::End { size }
            }
            _ => return Err(damaged()),
        })
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        self.exactly(u64::from(u32::from_le_bytes(length)), most)
    }

    fn exactly(&mut self, length: u64, most: u64) -> io::Result<Vec<u8>> {
        if length > most {
            return Err(damaged());
        }
        let mut bytes = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(damaged())
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the layer's reconstruction data is damaged")
}

fn short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "a file of the layer is shorter than it was",
    )
}
