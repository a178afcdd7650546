//! A connection whose phase is known, and whose half-closing does not take away an answer that is nearly there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::connection::registry::Entry;

/// How long a client that has closed its sending side may wait for an answer; a client that is gone looks the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// A stream and its entry.
pub(crate) struct Watched<S> {
    stream: S,
    entry: Arc<Entry>,
    /// Runs while an end of file is held back.
    held: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, entry: Arc<Entry>) -> Self {
        let held = None;
        Self { stream, entry, held }
    }

    /// The stream alone, for another protocol.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(held) = &mut this.held {
            if !this.entry.is_busy() {
                return Poll::Ready(Ok(()));
            }
            return held.as_mut().poll(context).map(Ok);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if !matches!(read, Poll::Ready(Ok(()))) {
            return read;
        }
        if buffer.filled().len() > before {
            this.entry.received();
            return read;
        }
        if buffer.remaining() == 0 || !this.entry.is_busy() {
            return read;
        }
        let held = this.held.insert(Box::pin(tokio::time::sleep(PATIENCE)));
        held.as_mut().poll(context).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
