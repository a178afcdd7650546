//! Streams of progress lines, whose work ends with its client.

use std::sync::Arc;

use conex_api_types as api;
use conex_image::ProgressSink;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::engine::ProgressStream;
use crate::error::{Error, Result};
use crate::progress;

/// What a stream has to tell.
pub(super) enum Line {
    /// A line.
    Progress(api::ProgressMessage),
    /// Why it ends early.
    Failure(Error),
}

/// Where the store tells its progress.
pub(super) fn sink(lines: mpsc::UnboundedSender<Line>) -> ProgressSink {
    Arc::new(move |event| {
        // A client that went away is told nothing more.
        let _ = lines.send(Line::Progress(progress::line(event)));
    })
}

/// Work that ends with whoever waits for it.
pub(super) struct AbortOnDrop(pub(super) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for the first line: a failure that comes first is the request's own.
pub(super) async fn streamed(mut lines: mpsc::UnboundedReceiver<Line>, work: AbortOnDrop) -> Result<ProgressStream> {
    let first = match lines.recv().await {
        Some(Line::Failure(error)) => return Err(error),
        Some(Line::Progress(line)) => Some(line),
        None => None,
    };
    // The work lives as long as its stream.
    let rest = futures_util::stream::unfold((lines, work), |(mut lines, work)| async move {
        let line = match lines.recv().await? {
            Line::Progress(line) => line,
            Line::Failure(error) => progress::failure(error.message()),
        };
        Some((line, (lines, work)))
    });
    Ok(futures_util::stream::iter(first).chain(rest).boxed())
}
