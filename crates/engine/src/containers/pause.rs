//! Pause and unpause: a container's processes are frozen where they are, and go on later.
//!
//! The kernel's freezer is the only record of it: a daemon that comes later asks it (`is_frozen`).

use std::sync::Arc;

use conex_cgroup::Cgroup;

use crate::containers::Container;
use crate::containers::task::Order;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Freezes a container's processes.
    pub async fn pause(&self, id: &str) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        container.order(|reply| Order::Pause { reply }).await
    }

    /// Lets a container's processes go on.
    pub async fn unpause(&self, id: &str) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        container.order(|reply| Order::Unpause { reply }).await
    }
}

impl Inner {
    /// The control group of a container, whether it exists or not.
    pub(crate) fn cgroup(&self, container: &Container) -> Cgroup {
        Cgroup::open(self.host.cgroups.directories(&self.cgroup_path(container)))
    }
}

/// Freezes a container's processes.
pub(crate) async fn freeze(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    act(engine, container, "pause", Cgroup::freeze).await
}

/// Lets a container's processes go on.
pub(crate) async fn thaw(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    act(engine, container, "unpause", Cgroup::thaw).await
}

async fn act(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    operation: &'static str,
    act: impl FnOnce(&Cgroup) -> std::io::Result<()> + Send + 'static,
) -> Result<()> {
    let cgroup = engine.cgroup(container);
    let acted = tokio::task::spawn_blocking(move || act(&cgroup)).await;
    acted
        .map_err(std::io::Error::other)
        .and_then(|acted| acted)
        .map_err(|error| {
            Error::new(
                ErrorKind::System,
                format!("Cannot {operation} container {}: {error}", container.id),
            )
            .caused_by(error)
        })
}
