//! What a container writes: as it is with a terminal, in frames without one.
//!
//! A frame is the stream (one byte: 0 stdin, 1 stdout, 2 stderr), three zeros, the length (four bytes, big endian) and as
//! many bytes (Engine API, "Attach to a container", "Stream format").

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::body::next_bytes;
use crate::{Error, Result};

/// Bytes before the content of a frame.
const HEADER: usize = 8;
/// Most that is read at a time.
const CHUNK: usize = 32 * 1024;

/// Where a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Some output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it was written to.
    pub stream: Stream,
    /// What was written.
    pub bytes: Bytes,
}

/// Takes frames apart, however they are cut into reads.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    buffer: BytesMut,
}

impl Demultiplexer {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub fn pop(&mut self) -> Option<Chunk> {
        let header = self.buffer.get(..HEADER)?;
        let stream = if header[0] == 2 { Stream::Stderr } else { Stream::Stdout };
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if self.buffer.len() < HEADER + length {
            return None;
        }
        self.buffer.advance(HEADER);
        Some(Chunk {
            stream,
            bytes: self.buffer.split_to(length).freeze(),
        })
    }
}

enum Source<R> {
    Connection(R),
    Body(Incoming),
}

/// Output of a container, read while it comes: from a hijacked connection or from the body of `logs`.
pub struct Output<R> {
    source: Source<R>,
    frames: Option<Demultiplexer>,
}

impl<R: AsyncRead + Unpin> Output<R> {
    /// Reads from the reading half of a hijacked connection.
    pub fn of_connection(reader: R, multiplexed: bool) -> Self {
        Self {
            source: Source::Connection(reader),
            frames: multiplexed.then(Demultiplexer::default),
        }
    }

    pub(crate) fn of_body(body: Incoming, multiplexed: bool) -> Self {
        Self {
            source: Source::Body(body),
            frames: multiplexed.then(Demultiplexer::default),
        }
    }

    /// The next output; `None` when there will be no more.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.frames.as_mut().and_then(Demultiplexer::pop) {
                return Ok(Some(chunk));
            }
            let Some(bytes) = self.read().await? else {
                return Ok(None);
            };
            match &mut self.frames {
                Some(frames) => frames.push(&bytes),
                None => {
                    return Ok(Some(Chunk {
                        stream: Stream::Stdout,
                        bytes,
                    }));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        match &mut self.source {
            Source::Body(body) => next_bytes(body, "read output").await,
            Source::Connection(reader) => {
                let mut buffer = BytesMut::with_capacity(CHUNK);
                let read = reader.read_buf(&mut buffer).await;
                let count = read.map_err(|source| Error::Stream {
                    operation: "read output",
                    source,
                })?;
                Ok((count > 0).then(|| buffer.freeze()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_wherever_the_reads_are_cut() {
        let bytes = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x00\x02\0\0\0\0\0\0\x01d";
        for cut in 1..bytes.len() {
            let mut frames = Demultiplexer::default();
            let mut all = Vec::new();
            for part in bytes.chunks(cut) {
                frames.push(part);
                while let Some(chunk) = frames.pop() {
                    all.push((chunk.stream, chunk.bytes.to_vec()));
                }
            }
            let expected = [
                (Stream::Stdout, b"abc".to_vec()),
                (Stream::Stderr, Vec::new()),
                (Stream::Stderr, b"d".to_vec()),
            ];
            assert_eq!(all, expected, "cut at {cut}");
        }
    }
}
