//! Events: everything that happened, to whoever listens, and the latest ones to whoever asks for them later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use conex_api_types as api;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::containers::Container;
use crate::engine::Engine;
use crate::requests::{EventsQuery, Timestamp};

/// Events that are kept for `--since`; as many as Docker keeps.
const KEPT: usize = 256;

/// A listener that is this far behind does not read any more and is dropped.
const BACKLOG: usize = 16 * 1024;

/// The bus.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bus: Mutex<Bus>,
}

#[derive(Debug, Default)]
struct Bus {
    past: VecDeque<api::EventMessage>,
    listeners: Vec<mpsc::Sender<api::EventMessage>>,
}

impl Events {
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

    /// Something happened to an image, known by this name.
    pub(crate) fn image(&self, action: &str, id: &str, name: &str) {
        self.publish("image", action, id, HashMap::from([("name".into(), name.to_owned())]));
    }

    /// A container was connected to the default bridge, or disconnected.
    pub(crate) fn network(&self, action: &str, bridge: &str, container: &str) {
        let attributes = [("name", "bridge"), ("type", "bridge"), ("container", container)];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.publish("network", action, bridge, HashMap::from(attributes));
    }

    fn publish(&self, kind: &str, action: &str, id: &str, attributes: HashMap<String, String>) {
        let now = jiff::Timestamp::now();
        let event = api::EventMessage::new(kind, action, id, attributes, now.as_nanosecond());
        let mut bus = self.lock();
        if bus.past.len() == KEPT {
            bus.past.pop_front();
        }
        bus.past.push_back(event.clone());
        bus.listeners
            .retain(|listener| listener.try_send(event.clone()).is_ok());
    }
}

impl Engine {
    /// Past events since `since`, then those to come until `until`.
    pub fn events(&self, query: EventsQuery) -> impl Stream<Item = api::EventMessage> + Send + 'static + use<> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let past: Vec<api::EventMessage> = {
            let mut bus = self.inner.events.lock();
            let past = match query.since {
                Some(since) => bus
                    .past
                    .iter()
                    .filter(|event| event.time_nano >= nanoseconds(since))
                    .cloned()
                    .collect(),
                None => Vec::new(),
            };
            // Registered under the same lock: no event is missed or seen twice.
            bus.listeners.push(sender);
            past
        };
        let until = query.until;
        let state = (past.into_iter(), receiver, query);
        stream::unfold(state, move |(mut past, mut receiver, query)| async move {
            loop {
                let event = match past.next() {
                    Some(event) => event,
                    None => receive_until(&mut receiver, until).await?,
                };
                if until.is_some_and(|until| event.time_nano > nanoseconds(until)) {
                    return None;
                }
                if matches(&event, &query) {
                    return Some((event, (past, receiver, query)));
                }
            }
        })
    }
}

async fn receive_until(
    receiver: &mut mpsc::Receiver<api::EventMessage>,
    until: Option<Timestamp>,
) -> Option<api::EventMessage> {
    let Some(until) = until else {
        return receiver.recv().await;
    };
    let left = nanoseconds(until) - i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
    tokio::time::timeout(left, receiver.recv()).await.ok().flatten()
}

fn nanoseconds(time: Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanoseconds))
}

/// Values of one filter are alternatives, filters are conditions.
fn matches(event: &api::EventMessage, query: &EventsQuery) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map_or("", String::as_str);
    let is_about = |kind: &str, value: &str| {
        event.kind == kind
            && (event.actor.id == value || attribute("name") == value || event.actor.id.starts_with(value))
    };
    query.filters.iter().all(|(filter, values)| {
        values.iter().any(|value| match filter.as_str() {
            "type" => event.kind == *value,
            // `exec_create: sh` is an action with its command behind it.
            "event" => event.action == *value || event.action.split(':').next() == Some(value),
            "container" | "network" => is_about(filter, value),
            "image" => is_about("image", value) || attribute("image") == value,
            "label" => match value.split_once('=') {
                Some((name, wanted)) => event.actor.attributes.get(name).is_some_and(|label| label == wanted),
                None => event.actor.attributes.contains_key(value),
            },
            "scope" => value == "local",
            "daemon" => true,
            _ => false,
        })
    })
}
