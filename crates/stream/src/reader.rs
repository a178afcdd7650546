//! What a blocking thread reads.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::ByteStream;

/// Chunks that wait to be read. They are as large as the network brought them, 8 to 64 KiB mostly.
const CHUNKS: usize = 16;

/// Reads chunks from a queue; an error in it is told once, its end is the end of the file.
#[derive(Debug)]
pub struct ChunkReader {
    arriving: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChunkReader {
    /// A queue: what is sent is read at the other end. Sending waits while the queue is full, and fails when nobody reads
    /// any more.
    pub fn new() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, arriving) = mpsc::channel(CHUNKS);
        let current = Bytes::new();
        (sender, Self { arriving, current })
    }
}

impl Read for ChunkReader {
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

/// Hands a stream to a blocking thread: what reads it there, and the work of feeding that, which ends with the stream or
/// when nobody reads any more.
pub fn reader(mut stream: ByteStream) -> (ChunkReader, impl Future<Output = ()> + Send) {
    let (sender, reader) = ChunkReader::new();
    let feeding = async move {
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    };
    (reader, feeding)
}
