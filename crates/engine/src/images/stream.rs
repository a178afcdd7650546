//! Streams of progress lines, whose work ends with its client.

use std::sync::Arc;

use conex_api_types as api;
use conex_image::ProgressSink;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
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
pub(super) async fn streamed(lines: mpsc::UnboundedReceiver<Line>, work: AbortOnDrop) -> Result<ProgressStream> {
    match begun(lines, work).await {
        (Some(Line::Failure(error)), _) => Err(error),
        (first, rest) => Ok(told(first, rest)),
    }
}

/// Waits for the first line: every failure is a line.
pub(super) async fn streamed_in_full(lines: mpsc::UnboundedReceiver<Line>, work: AbortOnDrop) -> ProgressStream {
    let (first, rest) = begun(lines, work).await;
    told(first, rest)
}

async fn begun(
    mut lines: mpsc::UnboundedReceiver<Line>,
    work: AbortOnDrop,
) -> (Option<Line>, impl Stream<Item = Line> + Send + 'static) {
    let first = lines.recv().await;
    // The work lives as long as its stream.
    let rest = stream::unfold((lines, work), |(mut lines, work)| async move {
        Some((lines.recv().await?, (lines, work)))
    });
    (first, rest)
}

fn told(first: Option<Line>, rest: impl Stream<Item = Line> + Send + 'static) -> ProgressStream {
    let lines = stream::iter(first).chain(rest);
    let message = |line| match line {
        Line::Progress(line) => line,
        Line::Failure(error) => progress::failure(error.message()),
    };
    lines.map(message).boxed()
}
