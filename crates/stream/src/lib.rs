//! Bytes between the event loop and blocking threads: bodies of requests and answers, blobs of registries, files that grow.
//!
//! Archives and compression are read and written with [`Read`] and [`Write`] on threads of their own, the network is served
//! by the event loop. A bounded queue of chunks lies between them, so that the slower side holds back the faster one.

mod changes;
mod reader;
mod writer;

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use crate::changes::Changes;
pub use crate::reader::{ChunkReader, reader};
pub use crate::writer::{ChunkWriter, writer};

/// Bytes on their way; after an error nothing comes any more.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;
