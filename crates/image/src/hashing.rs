//! Hashing on another thread while the bytes go on.

use std::io::{self, Write};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use bytes::Bytes;
use conex_reference::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes that are hashed at a time.
const CHUNK: usize = 256 * 1024;

/// Chunks that wait to be hashed.
const CHUNKS: usize = 8;

/// Passes on what is written, and hashes it beside that.
pub(crate) struct Hashing<'a> {
    output: &'a mut dyn Write,
    chunk: Vec<u8>,
    chunks: SyncSender<Bytes>,
    hasher: JoinHandle<Digest>,
}

impl<'a> Hashing<'a> {
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn new(output: &'a mut dyn Write) -> io::Result<Self> {
        let (chunks, waiting) = mpsc::sync_channel::<Bytes>(CHUNKS);
        let hash = move || {
            let mut hash = Sha256::new();
            // They end with whoever writes them.
            waiting.iter().for_each(|chunk| hash.update(&chunk));
            Digest::from_bytes(hash.finalize().into())
        };
        let hasher = std::thread::Builder::new().name("hash".into()).spawn(hash)?;
        Ok(Self {
            output,
            chunk: Vec::with_capacity(CHUNK),
            chunks,
            hasher,
        })
    }

    /// The digest of all that was written.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        self.pass()?;
        drop(self.chunks);
        self.hasher
            .join()
            .map_err(|_| io::Error::other("the hashing thread ended"))
    }

    fn pass(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK)));
        let hashed = self.chunks.send(chunk.clone());
        hashed.map_err(|_| io::Error::other("the hashing thread ended"))?;
        self.output.write_all(&chunk)
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.chunk.len();
        let count = bytes.len().min(room);
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.pass()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass()?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn what_is_written_goes_on_and_is_hashed() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut output = Vec::new();
        let mut hashing = Hashing::new(&mut output).unwrap();
        hashing.write_all(&bytes[..5]).unwrap();
        hashing.write_all(&bytes[5..]).unwrap();
        assert_eq!(hashing.finish().unwrap(), Digest::of(&bytes));
        assert_eq!(output, bytes);
        let mut output = Vec::new();
        assert_eq!(Hashing::new(&mut output).unwrap().finish().unwrap(), Digest::of(b""));
    }
}
