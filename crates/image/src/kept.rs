//! A blob that is kept while it arrives, after what came of it before.

use std::io::{self, Read};

use conex_content::{Begun, Partial};

/// Reads what is there of a blob, then what arrives, which is added to it.
pub(crate) struct Kept<R> {
    begun: Option<Begun>,
    partial: Option<Partial>,
    arriving: R,
}

impl<R> Kept<R> {
    pub(crate) fn new(partial: Option<Partial>, arriving: R) -> io::Result<Self> {
        let begun = partial.as_ref().map(Partial::begun).transpose()?;
        Ok(Self {
            begun,
            partial,
            arriving,
        })
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(begun) = &mut self.begun {
            match begun.read(buffer)? {
                0 => self.begun = None,
                count => return Ok(count),
            }
        }
        let count = self.arriving.read(buffer)?;
        if let Some(mut partial) = self.partial.take() {
            match partial.append(&buffer[..count]) {
                Ok(()) => self.partial = Some(partial),
                // A full disk: what is unpacked needs the room more than what may be needed again.
                Err(error) => {
                    tracing::warn!(%error, "keep what arrives of a layer");
                    partial.discard()?;
                }
            }
        }
        Ok(count)
    }
}
