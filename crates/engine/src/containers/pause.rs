//! Pause and unpause: a container's processes are frozen where they are, and go on later.
//!
//! The kernel's freezer is the only record of it: a daemon that comes later asks it (`is_frozen`). What a commit freezes it
//! marks before (`Files::hold_mark`), so that it does not stay frozen when the daemon is killed meanwhile.

use std::sync::Arc;
use std::{fs, io};

use conex_cgroup::Cgroup;

use crate::containers::Container;
use crate::containers::launch::system;
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

/// Freezes a container's processes.
pub(crate) async fn freeze(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    act(engine, container, "pause", Cgroup::freeze).await
}

/// Lets a container's processes go on.
pub(crate) async fn thaw(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    act(engine, container, "unpause", Cgroup::thaw).await
}

/// Marks that the processes are frozen for a commit.
pub(crate) fn mark(engine: &Inner, container: &Container) -> Result<()> {
    let path = engine.files.hold_mark(&container.id);
    fs::write(&path, "").map_err(system(format!("create {}", path.display())))
}

/// Whether they are.
pub(crate) fn is_marked(engine: &Inner, container: &Container) -> bool {
    engine.files.hold_mark(&container.id).exists()
}

/// Takes the mark away, where there is one.
pub(crate) fn unmark(engine: &Inner, container: &Container) -> Result<()> {
    let path = engine.files.hold_mark(&container.id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(system(format!("remove {}", path.display()))),
    }
}

/// Lets go on what a commit had frozen when its daemon was killed.
pub(crate) fn let_go_after_crash(engine: &Inner, container: &Container) -> Result<()> {
    if !is_marked(engine, container) {
        return Ok(());
    }
    let thawed = engine.cgroup(container).thaw();
    thawed.map_err(system(format!("unpause container {}", container.id)))?;
    unmark(engine, container)
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
