//! A blob in order, of which several parts are fetched at once where one connection is slower than whoever reads.
//!
//! ```text
//!   |<-- part -->|<-- part -->|<-- part -->|      each 8 MiB
//!    handed on    fetched ahead, in memory
//! ```
//!
//! A small blob is one part. A large one is asked for part by part. As long as its reader keeps the connection busy, one is enough;
//! when he waits for bytes most of the time, the next parts are fetched ahead, as many as the pull has connections to spare
//! (`max-concurrent-downloads`): a pull has no more connections than it has layers at once, and holds no more parts in memory.
//! A part that cannot be had alone ends this, and the rest comes by one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conex_reference::Reference;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::manifest::Descriptor;
use crate::registry::Blob;
use crate::resume::{Reading, Source, Whole};
use crate::session::{Session, Slot};

/// Bytes of a part: fetched ahead, it lies in memory.
const PART: u64 = 8 << 20;

/// Bytes from which on a blob comes in parts.
const LARGE: u64 = 4 * PART;

/// How long it is watched who waits for whom.
const WATCH: Duration = Duration::from_millis(250);

/// Begins to read a blob from `offset` on. What the registry refuses at once is an error here and not in the stream.
pub(crate) async fn open(
    session: Arc<Session>,
    repository: Reference,
    descriptor: Descriptor,
    offset: u64,
) -> Result<Blob> {
    let size = descriptor.size;
    let endpoint = session.begin(descriptor.digest);
    let own = session.occupy();
    let may_part = session.connections() > 1 && size.saturating_sub(offset) >= LARGE;
    let source = Source {
        session,
        repository,
        descriptor,
    };
    let end = if may_part { end_of_part(offset, size) } else { size };
    let mut first = Reading::new(source.clone(), offset..end, endpoint, Whole::Taken);
    if offset < size {
        match first.connect_again().await {
            // Some make nothing of a request for a part.
            Err(error) if may_part && !error.is_passing() => {
                first = Reading::new(source.clone(), offset..size, endpoint, Whole::Taken);
                first.connect_again().await?;
            }
            connected => connected?,
        }
    }
    let parts = Parts {
        source,
        position: offset,
        endpoint,
        head: Head::Here(Box::new(first)),
        ahead: VecDeque::new(),
        may_part,
        watch: Watch::new(),
        _own: own,
    };
    let pieces = stream::unfold(Some(parts), |parts| async {
        let mut parts = parts?;
        match parts.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(parts))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Blob {
        size,
        stream: pieces.boxed(),
    })
}

/// Where a part that begins at `start` ends; the last one may be half as long again.
fn end_of_part(start: u64, size: u64) -> u64 {
    if size.saturating_sub(start) < PART + PART / 2 {
        size
    } else {
        start + PART
    }
}

struct Parts {
    source: Source,
    /// Where in the blob the next byte belongs.
    position: u64,
    /// The number of the endpoint that answered last.
    endpoint: usize,
    head: Head,
    /// What follows the head, in order.
    ahead: VecDeque<Ahead>,
    /// Whether parts can be had alone, as far as is known.
    may_part: bool,
    watch: Watch,
    /// Of the head.
    _own: Slot,
}

/// The part that is handed on.
enum Head {
    Here(Box<Reading>),
    Ahead(Ahead),
}

/// A part that is fetched while others are handed on.
struct Ahead {
    end: u64,
    pieces: mpsc::UnboundedReceiver<Result<Bytes>>,
    task: JoinHandle<()>,
    slot: Option<Slot>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Parts {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            let asked = Instant::now();
            let piece = match &mut self.head {
                Head::Here(reading) => reading.next().await,
                Head::Ahead(ahead) => ahead.pieces.recv().await,
            };
            self.watch.waited(asked.elapsed());
            match (piece, &self.head) {
                (Some(Ok(bytes)), _) => {
                    self.position += bytes.len() as u64;
                    self.fetch_ahead();
                    return Some(Ok(bytes));
                }
                (Some(Err(error)), Head::Here(_)) if !self.may_part || error.is_passing() => return Some(Err(error)),
                (Some(Err(error)), _) => {
                    tracing::info!(%error, "the rest of a blob is fetched by one connection");
                    self.fetch_in_order();
                }
                (None, Head::Ahead(ahead)) if self.position < ahead.end => self.fetch_in_order(),
                (None, _) if self.position >= self.source.descriptor.size => return None,
                (None, _) => self.advance(),
            }
        }
    }

    /// Hands on the next part.
    fn advance(&mut self) {
        self.head = match self.ahead.pop_front() {
            Some(mut ahead) => {
                // It has the head's from here on.
                ahead.slot = None;
                Head::Ahead(ahead)
            }
            None => Head::Here(Box::new(self.reading(Whole::Taken))),
        };
    }

    /// What follows the head and what is fetched ahead, to be fetched here.
    fn reading(&self, whole: Whole) -> Reading {
        let (start, size) = (self.end(), self.source.descriptor.size);
        let end = if self.may_part { end_of_part(start, size) } else { size };
        Reading::new(self.source.clone(), start..end, self.endpoint, whole)
    }

    /// Begins to fetch a part ahead where that is of use and there is a connection for it.
    fn fetch_ahead(&mut self) {
        if let Head::Here(reading) = &self.head {
            self.may_part &= reading.is_ranged();
            self.endpoint = reading.endpoint();
        }
        if !self.may_part || !self.watch.is_starving || self.end() >= self.source.descriptor.size {
            return;
        }
        let Some(slot) = self.source.session.try_occupy() else {
            return;
        };
        let mut reading = self.reading(Whole::Refused);
        let end = reading.end();
        // It holds no more than the part.
        let (arrived, pieces) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(piece) = reading.next().await {
                if arrived.send(piece).is_err() {
                    return;
                }
            }
        });
        self.ahead.push_back(Ahead {
            end,
            pieces,
            task,
            slot: Some(slot),
        });
    }

    /// Fetches what is left by one connection.
    fn fetch_in_order(&mut self) {
        self.may_part = false;
        self.ahead.clear();
        let rest = self.position..self.source.descriptor.size;
        let reading = Reading::new(self.source.clone(), rest, self.endpoint, Whole::Taken);
        self.head = Head::Here(Box::new(reading));
    }

    /// Where that ends which is fetched.
    fn end(&self) -> u64 {
        match (self.ahead.back(), &self.head) {
            (Some(last), _) | (None, Head::Ahead(last)) => last.end,
            (None, Head::Here(reading)) => reading.end(),
        }
    }
}

/// Who waits for whom: the reader for bytes, or they for him.
struct Watch {
    since: Instant,
    waited: Duration,
    is_starving: bool,
}

impl Watch {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            waited: Duration::ZERO,
            is_starving: false,
        }
    }

    /// Takes down how long the reader waited for a piece.
    fn waited(&mut self, waited: Duration) {
        self.waited += waited;
        let elapsed = self.since.elapsed();
        if elapsed >= WATCH {
            let is_starving = self.waited * 10 >= elapsed * 7;
            *self = Self {
                is_starving,
                ..Self::new()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_blob_and_none_is_tiny() {
        for size in [LARGE, LARGE + 1, LARGE + PART / 2 - 1, LARGE + PART / 2, 10 * PART - 1] {
            let mut at = 0;
            while at < size {
                let end = end_of_part(at, size);
                assert!(
                    end - at >= PART.min(size) / 2 && end - at < PART * 3 / 2 && end <= size,
                    "{size} {at}"
                );
                at = end;
            }
            assert_eq!(at, size);
        }
    }
}
