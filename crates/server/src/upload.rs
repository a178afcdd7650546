//! Bodies that are streamed to us.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};

/// A body that is read to its end whatever becomes of what it is for: a client that still sends reads no answer, and
/// takes a closed connection for a daemon that died.
pub(crate) struct Upload {
    rest: Option<BodyDataStream>,
}

impl Upload {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            rest: Some(body.into_data_stream()),
        }
    }
}

impl Stream for Upload {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let next = ready!(rest.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(next.map(|chunk| chunk.map_err(io::Error::other)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut rest) = self.rest.take() {
            tokio::spawn(async move { while let Some(Ok(_)) = rest.next().await {} });
        }
    }
}
