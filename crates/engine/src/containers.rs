//! All containers: their identities, names, and the tasks that own them.

pub(crate) mod access;
pub(crate) mod archive;
mod archive_path;
pub(crate) mod attach;
pub(crate) mod boot;
mod changes;
mod commit;
pub(crate) mod create;
mod deaf;
pub(crate) mod disk_limits;
pub(crate) mod execs;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod launch;
pub(crate) mod lifecycle;
mod limits;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod list;
pub(crate) mod logs;
mod mounts;
pub(crate) mod namespaces;
pub(crate) mod networks;
pub(crate) mod pause;
pub(crate) mod plan;
mod prune;
pub(crate) mod records;
pub(crate) mod recovery;
pub(crate) mod removal;
pub(crate) mod rename;
pub(crate) mod resolution;
pub(crate) mod restore;
mod shortage;
mod shutdown;
pub(crate) mod stats;
pub(crate) mod task;
mod top;
pub(crate) mod update;
pub(crate) mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use conex_container::Config;
use conex_snapshot::Limit;
use conex_spec::selinux::Labels;
use conex_sys::userns::IdMap;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::containers::task::{Order, Reply, View};
use crate::count::Count;
use crate::error::{Error, ErrorKind, Result};

/// What hardly ever changes about a container, and the way to its owner. A rename or an update puts another value in its
/// place, with the same owner; whoever holds the old one sees what was.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Name without the leading slash.
    pub(crate) name: String,
    /// Creation, RFC 3339 with nanoseconds, UTC.
    pub(crate) created: String,
    /// The image's id (`sha256:...`).
    pub(crate) image: String,
    /// What was asked for, merged with the image.
    pub(crate) config: Config,
    /// The ids that its user namespace maps; `None` where it is the host's.
    pub(crate) map: Option<IdMap>,
    /// What it may write into its root file system.
    pub(crate) limit: Option<Limit>,
    /// Its labels by SELinux; `None` where it was made without.
    pub(crate) labels: Option<Labels>,
    view: watch::Receiver<View>,
    orders: mpsc::UnboundedSender<Order>,
    /// Clients that were told that they may attach and whose connections are still on their way.
    pub(crate) arriving: Count,
    /// Clients that follow its log.
    pub(crate) followers: Count,
    /// Held by whoever mounts the writable layer: overlayfs must not have the same one twice.
    layer: Arc<Mutex<()>>,
    /// Held by whoever makes an image of it: what one has frozen, another must not let go.
    pub(crate) capture: Arc<Mutex<()>>,
    /// Whether a client's removal is under way.
    removing: Arc<AtomicBool>,
}

/// A client's removal of a container, while it is under way.
pub(crate) struct Removal(Arc<AtomicBool>);

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The owner's ends of a new container's channels.
pub(crate) type OwnerEnds = (mpsc::UnboundedReceiver<Order>, watch::Sender<View>);

impl Container {
    /// A container as recorded, in the state it was found or made in.
    pub(crate) fn new(record: records::ContainerRecord, view: View) -> (Arc<Self>, OwnerEnds) {
        let (orders, queue) = mpsc::unbounded_channel();
        let (publisher, view) = watch::channel(view);
        let container = Self {
            id: record.id,
            name: record.name,
            created: record.created,
            image: record.image,
            config: record.config,
            map: record.map.map(IdMap::from),
            limit: record.limit.map(Limit::from),
            labels: record.labels.map(Labels::from),
            view,
            orders,
            arriving: Count::default(),
            followers: Count::default(),
            layer: Arc::default(),
            capture: Arc::default(),
            removing: Arc::default(),
        };
        (Arc::new(container), (queue, publisher))
    }

    /// The same container under another name.
    pub(crate) fn renamed(&self, name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            ..self.clone()
        })
    }

    /// What its owner last published.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Follows what its owner publishes.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Gives its owner an order and waits for the answer.
    pub(crate) async fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T> {
        let (reply, outcome) = oneshot::channel();
        // Both the closed queue and the dropped reply mean that the container is gone.
        let _ = self.orders.send(order(reply));
        outcome.await.unwrap_or_else(|_| Err(no_such_container(&self.id)))
    }

    /// Gives its owner an order that has no answer.
    pub(crate) fn tell(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Begins a client's removal; `None` where another is under way.
    pub(crate) fn begin_removal(&self) -> Option<Removal> {
        let is_first = !self.removing.swap(true, Ordering::AcqRel);
        is_first.then(|| Removal(self.removing.clone()))
    }

    /// The first twelve digits.
    pub(crate) fn short_id(&self) -> &str {
        &self.id[..12]
    }
}

/// The index of all containers.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Container>>,
    names: HashMap<String, String>,
}

impl Containers {
    /// Takes a name for an id; the error names the container that has it.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = index.names.get(name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                     You have to remove (or rename) that container to be able to reuse that name."
                ),
            ));
        }
        index.names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Whether a name is free.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        !self
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .contains_key(name)
    }

    /// Gives a name back whose container was not made.
    pub(crate) fn release(&self, name: &str) {
        self.index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .remove(name);
    }

    /// Adds a container whose name was reserved.
    pub(crate) fn add(&self, container: Arc<Container>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.names.insert(container.name.clone(), container.id.clone());
        index.by_id.insert(container.id.clone(), container);
    }

    /// Puts a changed container in its place; the name that it had before is free.
    pub(crate) fn replace(&self, before: &Container, container: Arc<Container>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if before.name != container.name {
            index.names.remove(&before.name);
        }
        index.names.insert(container.name.clone(), container.id.clone());
        index.by_id.insert(container.id.clone(), container);
    }

    /// Takes a container out.
    pub(crate) fn forget(&self, container: &Container) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.by_id.remove(&container.id);
        index.names.remove(&container.name);
    }

    /// All containers, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_id
            .values()
            .cloned()
            .collect()
    }

    /// Finds a container by its id, its name, or a prefix of its id that only it has.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        if reference.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "no container name or ID supplied",
            ));
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = index.by_id.get(reference) {
            return Ok(container.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = index.names.get(name).and_then(|id| index.by_id.get(id)) {
            return Ok(container.clone());
        }
        let mut matches = index
            .by_id
            .range::<str, _>((Bound::Included(reference), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("multiple IDs found with provided prefix: {reference}"),
            )),
            (None, _) => Err(no_such_container(reference)),
        }
    }
}

/// Docker's words for a container that is not there.
pub(crate) fn no_such_container(reference: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such container: {reference}"))
}
