//! The connections of a socket: how many there are, what each is doing, and which has to go.
//!
//! ```text
//!           first byte of a head          head complete
//!   Idle ------------------------> Head ------------------> Busy
//!    ^                              | HEAD_TIME              |
//!    |                              v                        |
//!    |                            closed                     |
//!    +-------------------- answer sent to its end -----------+
//! ```
//!
//! Where there are as many as there may be, the one that has been idle for the longest makes room for the next. One that
//! changed its protocol has left the registry: its socket belongs to a monitor.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

/// How long a client may take over a request's head.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// How often connections should be looked after.
pub(crate) const REVIEW: Duration = Duration::from_secs(5);

/// Fewest connections that there may be, whatever the limit of descriptors is.
const FEWEST: usize = 64;

/// How long a connection may at least say nothing before it has to make room: its request may be on its way.
const GRACE: Duration = Duration::from_millis(200);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since.
    Idle(Instant),
    /// Sending the head of a request, since.
    Head(Instant),
    /// Waiting for answers.
    Busy,
    /// Told to go.
    Closing,
}

/// A connection's entry.
#[derive(Debug)]
pub(crate) struct Entry {
    number: u64,
    phase: Mutex<Phase>,
    close: Notify,
}

/// The connections of one socket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    /// Instead of what the descriptors allow.
    most: Option<usize>,
    open: Arc<Mutex<Open>>,
    /// Told when a place is free again.
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: BTreeMap<u64, Arc<Entry>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// One of those that are idle will make room.
    ForNow,
    /// All wait for answers.
    Busy,
}

/// A connection's place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) entry: Arc<Entry>,
    registry: Registry,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.lock().entries.remove(&self.entry.number);
        self.registry.freed.notify_one();
    }
}

impl Registry {
    /// As many as half of the descriptors that the process may have; the rest is for what they ask for.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How many connections there may be. Asked each time: prlimit(1) changes it while the daemon runs.
    fn most(&self) -> usize {
        let descriptors = getrlimit(Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok());
        self.most
            .unwrap_or_else(|| descriptors.map_or(usize::MAX, |limit| (limit / 2).max(FEWEST)))
    }

    #[cfg(test)]
    fn with_most(most: usize) -> Self {
        let most = Some(most);
        Self {
            most,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection, which may have to wait for a moment; `None` where all that there may be are busy.
    pub(crate) async fn admit(&self) -> Option<Place> {
        loop {
            match self.try_admit(Instant::now()) {
                Ok(place) => return Some(place),
                // Either a place is free, or one has been idle for long enough by then.
                Err(Full::ForNow) => drop(tokio::time::timeout(GRACE / 10, self.freed.notified()).await),
                Err(Full::Busy) => return None,
            }
        }
    }

    fn try_admit(&self, now: Instant) -> Result<Place, Full> {
        let mut open = self.lock();
        if open.entries.len() >= self.most() {
            let entries = open.entries.iter();
            let idle = entries.filter_map(|(number, entry)| Some((entry.idle_since()?, *number)));
            let is_closing = open.entries.values().any(|entry| entry.phase() == Phase::Closing);
            let (since, victim) = match idle.min() {
                Some(found) if !is_closing => found,
                None if !is_closing => return Err(Full::Busy),
                _ => return Err(Full::ForNow),
            };
            if now.duration_since(since) >= GRACE
                && let Some(victim) = open.entries.get(&victim)
            {
                // Its descriptor is free when its place is.
                *victim.lock() = Phase::Closing;
                victim.close.notify_one();
            }
            return Err(Full::ForNow);
        }
        let number = open.next;
        open.next += 1;
        let entry = Arc::new(Entry {
            number,
            phase: Mutex::new(Phase::Idle(now)),
            close: Notify::new(),
        });
        open.entries.insert(number, entry.clone());
        Ok(Place {
            entry,
            registry: self.clone(),
        })
    }

    /// Closes the connections that take too long over a head.
    pub(crate) fn close_overdue(&self, now: Instant) {
        for entry in self.lock().entries.values() {
            if matches!(entry.phase(), Phase::Head(since) if now.duration_since(since) > HEAD_TIME) {
                entry.close.notify_one();
            }
        }
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        *self.lock()
    }

    fn idle_since(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Idle(since) | Phase::Head(since) => Some(since),
            Phase::Busy | Phase::Closing => None,
        }
    }

    /// Whether a request is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.phase() == Phase::Busy
    }

    /// Bytes have arrived.
    pub(crate) fn received(&self) {
        let mut phase = self.lock();
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(Instant::now());
        }
    }

    /// A request is complete up to its body.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        *self.lock() = Phase::Busy;
        Busy(self.clone())
    }

    /// When the connection has to go.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }
}

/// A request that is being answered, until its answer is sent or given up.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Entry>);

impl Busy {
    /// The body of the answer, with which the request ends.
    pub(crate) fn until_sent(self, body: Body) -> UnsyncBoxBody<Bytes, axum::Error> {
        UnsyncBoxBody::new(Answered { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.lock() = Phase::Idle(Instant::now());
    }
}

struct Answered {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_idle_longest_makes_room() {
        let registry = Registry::with_most(2);
        let begin = Instant::now();
        let admit = |seconds| registry.try_admit(begin + Duration::from_secs(seconds));
        let (first, second) = (admit(0).unwrap(), admit(1).unwrap());
        let busy = first.entry.begin();
        assert_eq!(admit(1).unwrap_err(), Full::ForNow);
        assert_eq!(second.entry.phase(), Phase::Idle(begin + Duration::from_secs(1)));
        // Another is not told to go before the first has gone.
        assert_eq!(admit(2).unwrap_err(), Full::ForNow);
        assert_eq!(second.entry.phase(), Phase::Closing);
        assert_eq!(admit(2).unwrap_err(), Full::ForNow);
        drop(second);
        let third = admit(2).unwrap();
        let _busy_too = third.entry.begin();
        assert_eq!(admit(9).unwrap_err(), Full::Busy);
        drop(busy);
        assert_eq!(admit(99).unwrap_err(), Full::ForNow);
        assert_eq!(first.entry.phase(), Phase::Closing);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let registry = Registry::with_most(2);
        drop(registry.try_admit(Instant::now()).unwrap());
        assert!(registry.lock().entries.is_empty());
    }

    #[tokio::test]
    async fn a_head_has_its_time() {
        let registry = Registry::with_most(2);
        let admit = || registry.try_admit(Instant::now()).unwrap();
        let (slow, idle) = (admit(), admit());
        slow.entry.received();
        registry.close_overdue(Instant::now() + HEAD_TIME / 2);
        let is_closed = async |entry: &Entry| {
            tokio::time::timeout(Duration::from_millis(5), entry.closed())
                .await
                .is_ok()
        };
        assert!(!is_closed(&slow.entry).await);
        registry.close_overdue(Instant::now() + HEAD_TIME * 2);
        assert!(is_closed(&slow.entry).await);
        assert!(!is_closed(&idle.entry).await);
    }
}
