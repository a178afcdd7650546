//! The streaming reader: one member after the other, contents in between.

use std::io::{self, BufRead, Read};

use crate::entry::{Entry, Kind, Mtime};
use crate::error::{ArchiveError, text};
use crate::header::{BLOCK, Header, invalid, is_zero};
use crate::pax::Extension;
use crate::sparse::{self, Described, Segment};

/// Longest extension (a long name, extended attributes) that is held in memory.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// The size of a file, and its parts where it is sparse.
type Shape = (u64, Option<Vec<Segment>>);

/// Reads an archive from a stream.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Bytes of the current member's contents that were not read.
    left: u64,
    /// Bytes between its contents and the next header.
    padding: u64,
    /// Bytes of the archive so far.
    position: u64,
}

impl<R: BufRead> TarReader<R> {
    /// Reads from the stream's present position.
    pub fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            position: 0,
        }
    }

    /// The next member; `None` at the end of the archive. Contents of the one before that were not read are passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut begun = self.position;
        let entry = self.read_entry(&mut begun);
        entry.map_err(|error| match error {
            ArchiveError::Truncated { .. } => error.at(self.position),
            error => error.at(begun),
        })
    }

    /// As `read`, with the place where the archive breaks off.
    pub fn read_contents(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        self.read(buffer).map_err(|error| read_error(error).at(self.position))
    }

    /// Bytes of the archive that were read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// As `next_entry`; `begun` becomes the place of the header that was read last.
    fn read_entry(&mut self, begun: &mut u64) -> Result<Option<Entry>, ArchiveError> {
        let mut extension = Extension::default();
        let (mut path, mut link) = (None, None);
        loop {
            self.skip()?;
            *begun = self.position;
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? || is_zero(&block) {
                return Ok(None);
            }
            let header = Header::parse(&block)?;
            match header.flag() {
                // Of several the last counts: all together could be of any size.
                b'x' | b'X' => extension = Extension::of(&self.read_extension(&header)?)?,
                b'L' => path = Some(until_nul(self.read_extension(&header)?)),
                b'K' => link = Some(until_nul(self.read_extension(&header)?)),
                // What a global header says of all members that follow is passed over, as by Docker: no layer may mean
                // another thing here. And a volume's label: GNU tar writes one at the head of archives made with --label.
                b'g' | b'V' => self.begin(header.size()?),
                _ => {
                    extension.path = path.or(extension.path);
                    extension.link = link.or(extension.link);
                    return self.entry(&header, extension).map(Some);
                }
            }
        }
    }

    /// The stream that is read.
    pub(crate) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The stream, for what follows the archive.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn entry(&mut self, header: &Header<'_>, extension: Extension) -> Result<Entry, ArchiveError> {
        let numbers = header.numbers()?;
        let name = extension.sparse.as_ref().and_then(|sparse| sparse.name.clone());
        let path = name.or(extension.path).unwrap_or_else(|| header.path());
        let kind = kind(header.flag(), &path)?;
        let stored = match kind {
            Kind::File => extension.size.unwrap_or(numbers.size),
            // Some programs state a size although nothing follows (a hard link with that of its file).
            _ => 0,
        };
        let (size, sparse) = match extension.sparse.filter(|_| kind == Kind::File) {
            _ if header.flag() == b'S' => self.sparse_of_header(header, stored)?,
            Some(described) => self.sparse_of_extension(described, stored)?,
            None => {
                self.begin(stored);
                (stored, None)
            }
        };
        let (major, minor) = match kind {
            Kind::CharDevice | Kind::BlockDevice => header.device()?,
            _ => (0, 0),
        };
        let owner = |stated: Option<u64>, field| match u32::try_from(stated.unwrap_or(field)) {
            // The highest number says "no change" to chown(2).
            Ok(u32::MAX) | Err(_) => Err(invalid("owner")),
            Ok(owner) => Ok(owner),
        };
        Ok(Entry {
            link: extension.link.unwrap_or_else(|| header.link()),
            kind,
            mode: u32::try_from(numbers.mode & 0o7777).unwrap_or_default(),
            uid: owner(extension.uid, numbers.uid)?,
            gid: owner(extension.gid, numbers.gid)?,
            size,
            sparse,
            mtime: extension.mtime.unwrap_or(Mtime {
                seconds: numbers.mtime,
                nanoseconds: 0,
            }),
            major,
            minor,
            xattrs: extension.xattrs,
            path,
        })
    }

    /// Size and parts of a sparse file whose map begins in its header.
    fn sparse_of_header(&mut self, header: &Header<'_>, stored: u64) -> Result<Shape, ArchiveError> {
        let (fields, mut is_more, size) = header.sparse()?;
        let mut map = Vec::new();
        sparse::add_fields(&mut map, fields)?;
        while is_more {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Err(ArchiveError::Truncated { offset: self.position });
            }
            sparse::add_fields(&mut map, &block[..504])?;
            is_more = block[504] != 0;
        }
        self.begin(stored);
        Ok((size, Some(sparse::segments(&map, size, stored)?)))
    }

    /// Size and parts of one that an extended header tells of.
    fn sparse_of_extension(&mut self, described: Described, stored: u64) -> Result<Shape, ArchiveError> {
        self.begin(stored);
        let size = described.size.ok_or(invalid("size of a sparse file"))?;
        let (map, before) = if described.before_contents {
            sparse::read_map(&mut *self)?
        } else {
            (described.map, 0)
        };
        Ok((size, Some(sparse::segments(&map, size, stored - before)?)))
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn read_extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, ArchiveError> {
        let size = header.size()?;
        if size > LONGEST_EXTENSION {
            return Err(invalid("extension is too long"));
        }
        self.begin(size);
        let mut bytes = Vec::new();
        self.by_ref().read_to_end(&mut bytes).map_err(read_error)?;
        Ok(bytes)
    }

    /// Fills the block; `false` at the end of the stream, which is an error within a block only.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        if self.input.fill_buf().map_err(read_error)?.is_empty() {
            return Ok(false);
        }
        self.input.read_exact(block).map_err(read_error)?;
        self.position += BLOCK as u64;
        Ok(true)
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        let mut left = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        while left > 0 {
            let available = self.input.fill_buf().map_err(read_error)?.len();
            if available == 0 {
                return Err(ArchiveError::Truncated { offset: self.position });
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            self.input.consume(step);
            self.position += step as u64;
            left -= step as u64;
        }
        Ok(())
    }
}

/// Reads the contents of the current member, and no further.
impl<R: BufRead> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut contents = self.fill_buf()?;
        let count = contents.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// Shows the contents of the current member as they lie in the stream's own buffer, so that they are not copied.
impl<R: BufRead> BufRead for TarReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let available = self.input.fill_buf()?;
        if available.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = usize::try_from(self.left).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..end])
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
        self.left -= count as u64;
    }
}

/// What reading an archive failed with.
pub fn read_error(error: io::Error) -> ArchiveError {
    match error.downcast::<ArchiveError>() {
        Ok(error) => error,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { offset: 0 },
        Err(error) => ArchiveError::Read(error),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind, ArchiveError> {
    let what = match flag {
        // Before there were types a directory was a file whose name ends with a slash.
        0 if path.ends_with(b"/") => return Ok(Kind::Directory),
        b'0' | 0 | b'7' | b'S' => return Ok(Kind::File),
        b'1' => return Ok(Kind::HardLink),
        b'2' => return Ok(Kind::Symlink),
        b'3' => return Ok(Kind::CharDevice),
        b'4' => return Ok(Kind::BlockDevice),
        b'5' => return Ok(Kind::Directory),
        b'6' => return Ok(Kind::Fifo),
        b'M' => "a file of several volumes".to_owned(),
        other => format!("a member of type {:?}", char::from(other)),
    };
    Err(ArchiveError::Unsupported { path: text(path), what })
}
