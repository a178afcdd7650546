//! Bodies of requests and answers between the event loop and blocking threads.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

/// Bytes on their way to or from a client.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Chunks that wait for the slower side.
const CHUNKS: usize = 4;

/// Bytes that are collected before they are sent.
const CHUNK: usize = 128 * 1024;

/// Hands a body to a blocking thread: what reads it there, and the work of feeding that, which ends with the body or when
/// nobody reads any more.
pub(crate) fn reader(mut body: ByteStream) -> (Chunks, impl Future<Output = ()> + Send) {
    let (sender, arriving) = mpsc::channel(CHUNKS);
    let feeding = async move {
        while let Some(chunk) = body.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let chunks = Chunks {
        arriving,
        current: Bytes::new(),
    };
    (chunks, feeding)
}

/// What a blocking thread reads of a body.
pub(crate) struct Chunks {
    arriving: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.arriving.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// What a blocking thread writes, and the body that a client reads.
pub(crate) fn writer() -> (ChunkWriter, ByteStream) {
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

/// Collects what is written into chunks. A client that went away makes writing fail.
pub(crate) struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    /// Tells the client that the rest does not come: the connection is cut off, so that it does not take a part for all.
    pub(crate) fn fail(&self, error: io::Error) {
        // A client that went away has nothing to be told.
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
        self.sender
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
