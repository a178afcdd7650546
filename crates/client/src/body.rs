//! Bodies that are read piece by piece, and bodies that are sent so.

use std::io;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::de::DeserializeOwned;

use crate::call::Body;
use crate::{Error, Result};

/// A body of JSON values, one after the other, read while they arrive.
#[derive(Debug)]
pub struct Lines<T> {
    body: Incoming,
    buffer: BytesMut,
    operation: String,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(body: Incoming, operation: String) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            operation,
            of: PhantomData,
        }
    }

    /// The next value; `None` when the body has ended.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                match line.trim_ascii() {
                    [] => continue,
                    line => return self.decode(line).map(Some),
                }
            }
            if !self.fill().await? {
                let rest = std::mem::take(&mut self.buffer);
                return match rest.trim_ascii() {
                    [] => Ok(None),
                    rest => self.decode(rest).map(Some),
                };
            }
        }
    }

    fn decode(&self, line: &[u8]) -> Result<T> {
        serde_json::from_slice(line).map_err(|source| Error::Decode {
            operation: self.operation.clone(),
            source,
        })
    }

    async fn fill(&mut self) -> Result<bool> {
        match next_bytes(&mut self.body, &self.operation).await? {
            Some(bytes) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The next bytes of a body; `None` when it has ended.
pub(crate) async fn next_bytes(body: &mut Incoming, operation: &str) -> Result<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(source)) => {
                return Err(Error::Connection {
                    operation: operation.to_owned(),
                    source,
                });
            }
        }
    }
}

/// Bytes of a body, read while they arrive.
#[derive(Debug)]
pub struct Chunks {
    body: Incoming,
    operation: String,
}

impl Chunks {
    pub(crate) fn new(body: Incoming, operation: String) -> Self {
        Self { body, operation }
    }

    /// The next bytes; `None` when the body has ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        next_bytes(&mut self.body, &self.operation).await
    }
}

/// An archive that is sent while it is read.
pub struct Archive(pub(crate) Body);

impl Archive {
    /// Takes the archive's bytes from a stream.
    pub fn from_stream<S>(stream: S) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    {
        Self(BodyExt::boxed(StreamBody::new(
            stream.map(|bytes| bytes.map(Frame::data)),
        )))
    }
}
