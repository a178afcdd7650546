//! `POST /containers/{id}/rename`.

use std::sync::Arc;

use conex_container::names;

use crate::containers::Container;
use crate::containers::task::Order;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Gives a container another name. It is on disk when this returns.
    pub async fn rename(&self, id: &str, name: &str) -> Result<()> {
        if id.is_empty() || name.is_empty() {
            return Err(invalid("Neither old nor new names may be empty"));
        }
        let container = self.inner.containers.find(id)?;
        let name = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("/{name}")
        };
        let bare = &name[1..];
        if bare == container.name {
            return Err(invalid("Renaming a container with the same name as its current name"));
        }
        names::parse(&name).map_err(|error| invalid(format!("Error when allocating new name: {error}")))?;
        container
            .order(|reply| Order::Rename {
                name: bare.to_owned(),
                reply,
            })
            .await
    }
}

fn invalid(words: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, words)
}

/// Records the new name and puts the container under it in its place.
pub(crate) async fn rename(engine: &Inner, container: &Arc<Container>, name: &str) -> Result<Arc<Container>> {
    engine.containers.reserve(name, &container.id).map_err(|error| {
        Error::new(
            error.kind(),
            format!("Error when allocating new name: {}", error.message()),
        )
    })?;
    let renamed = container.renamed(name);
    conex_sys::failpoint::hit("rename.before-record");
    if let Err(error) = engine.records.replace(container, &renamed).await {
        engine.containers.release(name);
        return Err(error);
    }
    conex_sys::failpoint::hit("rename.after-record");
    engine.containers.replace(container, renamed.clone());
    engine.networks.rename(&renamed);
    let before = format!("/{}", container.name);
    engine.events.container(&renamed, "rename", &[("oldName", before)]);
    Ok(renamed)
}
