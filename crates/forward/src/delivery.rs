//! One log on its way: read from its spool, sent, and noted as arrived.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conex_log::{Position, Reader};
use conex_stream::Changes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::connection::Connection;
use crate::order::{Follow, News};

/// Messages that are sent at once.
const BATCH: usize = 128;

/// How long a connection has to live on after messages were taken, so that they count as arrived.
const SETTLED: Duration = Duration::from_secs(1);

/// Waits between two attempts: twice as long each time.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A log, and what is known of it.
pub(crate) struct Delivery {
    orders: watch::Receiver<Follow>,
    /// What has arrived.
    cursor: Option<Position>,
}

/// What was sent and has not arrived for sure.
#[derive(Default)]
struct Underway {
    /// Places, and since when what is before them is underway; nothing where the receiver has said that it has it.
    sent: VecDeque<(Position, Option<Instant>)>,
}

impl Underway {
    /// The place up to which all has arrived by now, where that is further than before.
    fn arrived(&mut self, is_taken: bool) -> Option<Position> {
        let mut arrived = None;
        let is_there = |since: Option<Instant>| since.is_none_or(|since| is_taken && since.elapsed() >= SETTLED);
        while let Some((position, _)) = self.sent.front().filter(|(_, since)| is_there(*since)) {
            arrived = Some(*position);
            self.sent.pop_front();
        }
        arrived
    }
}

impl Delivery {
    pub(crate) fn new(orders: watch::Receiver<Follow>) -> Self {
        let loaded = {
            let follow = orders.borrow();
            Position::load(&follow.cursor).unwrap_or_else(|error| {
                tracing::warn!(log = follow.name, %error, "read what has arrived; all is sent again");
                None
            })
        };
        Self { orders, cursor: loaded }
    }

    /// Delivers the log until it has ended and all of it has arrived, which is told.
    pub(crate) async fn serve(mut self, tell: mpsc::UnboundedSender<News>) {
        let mut wait = WAITS.0;
        loop {
            let before = self.cursor;
            match self.deliver().await {
                Ok(News::Done { name, number }) => {
                    // The error means that the forwarder ends.
                    let _ = tell.send(News::Done { name, number });
                    // It may be ordered anew before that is heard.
                    if self.orders.wait_for(|follow| follow.number != number).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let log = self.orders.borrow().name.clone();
                    tracing::warn!(log, %error, "forward a log; it is tried again");
                    if self.cursor != before {
                        wait = WAITS.0;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAITS.1);
                }
            }
        }
    }

    /// Delivers over one connection, from what has arrived on, to the end.
    async fn deliver(&mut self) -> io::Result<News> {
        let mut follow = self.orders.borrow_and_update().clone();
        let done = |follow: &Follow| News::Done {
            name: follow.name.clone(),
            number: follow.number,
        };
        let opened = Changes::watch(&follow.log)?.zip(self.open(&follow.log)?);
        let Some((changes, mut reader)) = opened else {
            // Not written yet, or removed.
            return if follow.live {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(done(&follow))
            };
        };
        let mut connection = None;
        let mut underway = Underway::default();
        let (mut saved, mut unsaved) = (Instant::now(), false);
        loop {
            // Looked at before the log, so that what was written last is not missed.
            if self.orders.has_changed().is_ok_and(|has| has) {
                self.orders.borrow_and_update().clone_into(&mut follow);
                reader.moved(&follow.log);
            }
            let batch = read(&mut reader, &follow)?;
            let is_empty = batch.entries == 0;
            if !is_empty {
                let connection = match &mut connection {
                    Some(connection) => connection,
                    none => none.insert(Connection::open(&follow.to).await?),
                };
                let is_there = connection.send(batch).await?;
                let since = (!is_there).then(Instant::now);
                underway.sent.push_back((reader.position()?, since));
            }
            if let Some(position) = underway.arrived(connection.as_ref().is_some_and(Connection::is_taken)) {
                self.cursor = Some(position);
                unsaved = true;
            }
            let is_over = is_empty && underway.sent.is_empty();
            if let Some(position) = self
                .cursor
                .filter(|_| unsaved && (is_over || saved.elapsed() >= SETTLED))
            {
                position.save(&follow.cursor)?;
                (saved, unsaved) = (Instant::now(), false);
            }
            if !is_empty {
                continue;
            }
            if !follow.live && underway.sent.is_empty() {
                return Ok(done(&follow));
            }
            tokio::select! {
                changed = changes.wait() => changed?,
                // The error means that the order was taken back, and that this ends.
                _ = self.orders.changed() => self.orders.mark_changed(),
                () = tokio::time::sleep(SETTLED / 4), if !underway.sent.is_empty() => {}
                error = broken(connection.as_mut()) => return Err(error),
            }
        }
    }

    fn open(&self, log: &Path) -> io::Result<Option<Reader>> {
        let opened = match &self.cursor {
            Some(position) => Reader::open_at(log, position),
            None => Reader::open(log),
        };
        match opened {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is sent next; nothing at the log's present end.
fn read(reader: &mut Reader, follow: &Follow) -> io::Result<Batch> {
    let mut batch = Batch::default();
    while batch.entries < BATCH {
        let number = number();
        let Some(entry) = reader.next_entry()? else { break };
        if let Err(error) = batch.add(follow, &entry, number) {
            // Those after it are not to wait for it.
            tracing::warn!(log = follow.name, %error, "leave out an entry that its receiver cannot have");
        }
    }
    batch.finish(follow, number())
}

/// A number that no other message of this forwarder has, nor one of the forwarder before.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = jiff::Timestamp::now().as_nanosecond();
    // The first from the clock, the others by counting on.
    let first = u64::try_from(nanoseconds).unwrap_or_default();
    let _ = NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The end of a connection, where there is one.
async fn broken(connection: Option<&mut Connection>) -> io::Error {
    match connection {
        Some(connection) => connection.broken().await,
        None => std::future::pending().await,
    }
}
