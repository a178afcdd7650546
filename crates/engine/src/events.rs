//! Events: everything that happened, to whoever listens, and from the journal to whoever asks for it later.

mod filter;
mod journal;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conex_api_types as api;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use self::filter::Filter;
use self::journal::{Journal, Past};

use crate::containers::Container;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::Endpoint;
use crate::requests::{EventsQuery, Timestamp};
use crate::volumes;

/// A listener that is this far behind does not read any more and is dropped.
const BACKLOG: usize = 16 * 1024;

/// Past events that are read ahead of a listener.
const READ_AHEAD: usize = 64;

/// The bus.
#[derive(Debug)]
pub(crate) struct Events {
    bus: Mutex<Bus>,
}

#[derive(Debug)]
struct Bus {
    journal: Journal,
    /// Time of the latest event, nanoseconds since 1970.
    latest: i128,
    listeners: Vec<mpsc::Sender<Arc<api::EventMessage>>>,
}

impl Events {
    /// The bus, with its journal in a directory.
    ///
    /// # Errors
    /// The journal cannot be opened.
    pub(crate) fn open(journal: &Path) -> io::Result<Self> {
        let journal = Journal::open(journal)?;
        let bus = Bus {
            journal,
            latest: 0,
            listeners: Vec::new(),
        };
        Ok(Self { bus: Mutex::new(bus) })
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        let bus = self.lock();
        bus.listeners.iter().filter(|listener| !listener.is_closed()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a container.
    pub(crate) fn container(&self, container: &Container, action: &str, details: &[(&str, String)]) {
        let mut attributes: HashMap<String, String> = container
            .config
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        attributes.insert("name".into(), container.name.clone());
        attributes.insert("image".into(), container.config.image.clone());
        attributes.extend(details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.publish("container", action, &container.id, attributes);
    }

    /// Something happened to an image of these labels, known by this name.
    pub(crate) fn image(&self, action: &str, id: &str, name: &str, labels: &BTreeMap<String, String>) {
        let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut attributes: HashMap<String, String> = labels.collect();
        attributes.insert("name".into(), name.to_owned());
        self.publish("image", action, id, attributes);
    }

    /// A network was made or removed, or a container was connected to it or disconnected.
    pub(crate) fn network(&self, action: &str, id: &str, name: &str, driver: &str, container: Option<&str>) {
        let attributes = [("name", name), ("type", driver)].into_iter();
        let attributes = attributes.chain(container.map(|container| ("container", container)));
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.publish("network", action, id, attributes.collect());
    }

    /// Something happened to a volume.
    pub(crate) fn volume(&self, action: &str, name: &str, details: &[(&str, &str)]) {
        let attributes = [("driver", volumes::DRIVER)].into_iter().chain(details.iter().copied());
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.publish("volume", action, name, attributes.collect());
    }

    /// A container has its volumes from here on.
    pub(crate) fn volumes_mounted(&self, container: &Container) {
        for volume in container.config.mounted_volumes() {
            let details = [
                ("container", container.id.as_str()),
                ("destination", &volume.target),
                ("propagation", ""),
                ("read/write", if volume.read_only { "false" } else { "true" }),
            ];
            self.volume("mount", &volume.name, &details);
        }
    }

    /// A container has its volumes no more.
    pub(crate) fn volumes_unmounted(&self, container: &Container) {
        for volume in container.config.mounted_volumes() {
            self.volume("unmount", &volume.name, &[("container", &container.id)]);
        }
    }

    /// A container was connected, or disconnected.
    pub(crate) fn endpoint(&self, action: &str, endpoint: &Endpoint, container: &str) {
        self.network(
            action,
            &endpoint.network,
            &endpoint.name,
            &endpoint.driver,
            Some(container),
        );
    }

    /// What was unused of a kind of objects was removed.
    pub(crate) fn pruned(&self, kind: &str, bytes: u64) {
        let attributes = HashMap::from([("reclaimed".into(), bytes.to_string())]);
        self.publish(kind, "prune", "", attributes);
    }

    fn publish(&self, kind: &str, action: &str, id: &str, attributes: HashMap<String, String>) {
        let mut bus = self.lock();
        // No two events have one time: who asks for what came after the last one it saw gets neither more nor less.
        bus.latest = jiff::Timestamp::now().as_nanosecond().max(bus.latest + 1);
        let event = Arc::new(api::EventMessage::new(kind, action, id, attributes, bus.latest));
        if let Err(error) = bus.journal.append(&event) {
            tracing::error!(%error, kind, action, id, "write an event into the journal");
        }
        bus.listeners
            .retain(|listener| listener.try_send(Arc::clone(&event)).is_ok());
    }
}

impl Engine {
    /// Past events since `since`, then those to come until `until`. `until` alone asks for all that is past. A client
    /// that asks for `since` after `until` is refused by the server, in the client's own words for the times.
    ///
    /// # Errors
    /// 400 for a filter that there is none of, 500 where the journal cannot be opened.
    pub fn events(&self, query: EventsQuery) -> Result<impl Stream<Item = api::EventMessage> + Send + 'static + use<>> {
        let since = query.since.map(nanoseconds);
        let until = query.until.map(nanoseconds);
        let filter = Filter::new(query.filters)?;
        let (sender, live) = mpsc::channel(BACKLOG);
        let past = {
            let mut bus = self.inner.events.lock();
            let past = (since.or(until)).map(|_| bus.journal.past()).transpose();
            // Registered under the same lock: no event is missed or seen twice.
            bus.listeners.push(sender);
            past.map_err(|error| Error::new(ErrorKind::System, format!("open the journal of events: {error}")))?
        };
        let since = since.unwrap_or(i64::MIN);
        let state = (past.map(|past| read(past, since)), live, filter);
        Ok(stream::unfold(state, move |(mut past, mut live, filter)| async move {
            loop {
                let event = match &mut past {
                    Some(events) => events.recv().await,
                    None => None,
                };
                let event = match event {
                    Some(event) => event,
                    None => {
                        past = None;
                        receive_until(&mut live, until).await?
                    }
                };
                if until.is_some_and(|until| event.time_nano > until) {
                    return None;
                }
                if filter.matches(&event) {
                    return Some((Arc::unwrap_or_clone(event), (past, live, filter)));
                }
            }
        }))
    }
}

/// Reads the events of the journal, as fast as they are taken.
fn read(past: Past, since: i64) -> mpsc::Receiver<Arc<api::EventMessage>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        for event in past.read().filter(|event| event.time_nano >= since) {
            if sender.blocking_send(Arc::new(event)).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn receive_until(
    receiver: &mut mpsc::Receiver<Arc<api::EventMessage>>,
    until: Option<i64>,
) -> Option<Arc<api::EventMessage>> {
    let Some(until) = until else {
        return receiver.recv().await;
    };
    let left = until - i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
    tokio::time::timeout(left, receiver.recv()).await.ok().flatten()
}

fn nanoseconds(time: Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanoseconds))
}
