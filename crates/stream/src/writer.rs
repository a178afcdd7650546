//! What a blocking thread writes.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use crate::ByteStream;

/// Chunks that wait for the network.
const CHUNKS: usize = 4;

/// Bytes that are collected before they are sent.
const CHUNK: usize = 128 * 1024;

/// What a blocking thread writes, and the stream that the event loop takes it from.
///
/// What was written since the last chunk goes with [`Write::flush`]; dropped without one it is lost.
pub fn writer() -> (ChunkWriter, ByteStream) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let writer = ChunkWriter {
        sender,
        buffer: Vec::with_capacity(CHUNK),
    };
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    (writer, chunks.boxed())
}

/// Collects what is written into chunks. Writing fails with `BrokenPipe` where nobody takes them any more.
#[derive(Debug)]
pub struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    /// Tells the taker that the rest does not come, so that it does not take a part for all.
    pub fn fail(&self, error: io::Error) {
        // Where nobody takes it any more, nobody is told.
        let _ = self.sender.blocking_send(Err(error));
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let sent = self.sender.blocking_send(Ok(chunk.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
