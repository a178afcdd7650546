//! Network namespaces of containers (network_namespaces(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use conex_sys::netns;

use crate::error::{DriverError, Result};
use crate::messages::{LOOPBACK, link_up};
use crate::netlink::Socket;

/// A container's network namespace and, while it is being set up, a way to its routing tables.
///
/// The kernel dismantles a namespace, with all interfaces in it, after its last descriptor is closed and its last
/// process has ended; closing does not wait for that.
#[derive(Debug)]
pub struct Netns {
    namespace: OwnedFd,
    control: Option<Socket>,
}

impl Netns {
    /// A new one, its loopback interface up.
    pub fn create() -> Result<Self> {
        let refused = |operation| move |source| DriverError::Namespace { operation, source };
        let (namespace, control) = netns::create(Socket::open).map_err(refused("create"))?;
        let mut created = Self {
            namespace,
            control: Some(control.map_err(refused("enter"))?),
        };
        created.loopback_up()?;
        Ok(created)
    }

    /// One that is there already.
    pub fn from_fd(namespace: OwnedFd) -> Self {
        Self {
            namespace,
            control: None,
        }
    }

    /// Brings the loopback interface up, which is all that `--network none` has.
    pub fn loopback_up(&mut self) -> Result<()> {
        let up = |source| DriverError::Namespace {
            operation: "bring up loopback in",
            source,
        };
        self.control()?.request(&[link_up(LOOPBACK)]).map_err(up)
    }

    /// The namespace alone, to be handed to a container.
    pub fn into_fd(self) -> OwnedFd {
        self.namespace
    }

    /// The socket in the namespace. Where it was not opened at its creation, a thread enters for that at first use.
    pub(crate) fn control(&mut self) -> Result<&mut Socket> {
        let socket = match self.control.take() {
            Some(socket) => socket,
            None => open_within(self.namespace.as_fd()).map_err(|source| DriverError::Namespace {
                operation: "enter",
                source,
            })?,
        };
        Ok(self.control.insert(socket))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

fn open_within(namespace: BorrowedFd<'_>) -> io::Result<Socket> {
    netns::enter(namespace, Socket::open)?
}
