//! Removal: the record goes first and durably, with the volumes that go with the container, then directories go to the trash
//! by renames.
//!
//! A crash between the two leaves directories without a record, which the next start collects.

use std::sync::Arc;

use conex_metadata::Changes;

use crate::containers::{Container, logs};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::volumes::Going;

/// What becomes of the volumes that nobody named and that no other container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// They stay.
    Stay,
    /// They are removed.
    Go,
}

/// Removes a container that does not run.
pub(crate) async fn remove(engine: &Arc<Inner>, container: &Container, unnamed: Unnamed) -> Result<()> {
    conex_sys::failpoint::hit("remove.before-record");
    let going = match unnamed {
        Unnamed::Go => Going::with(engine, container).await,
        Unnamed::Stay => None,
    };
    let with = going.as_ref().map_or_else(Changes::new, Going::changes);
    if let Err(error) = engine.records.remove(container, with).await {
        if let Some(going) = going {
            going.stay();
        }
        return Err(error);
    }
    conex_sys::failpoint::hit("remove.after-record");
    engine.volumes.release(container);
    engine.containers.forget(container);
    conex_sys::failpoint::hit("remove.before-trash");
    if let Some(going) = going
        && let Err(error) = tokio::task::spawn_blocking(move || going.discard()).await
    {
        tracing::error!(%error, container = %container.id, "discard the volumes of a container");
    }
    // What of its log has not arrived goes on without it.
    if let Some(follow) = logs::forwarding(engine, container, false)
        && let Err(error) = engine.forwarder.inherit(follow)
    {
        tracing::warn!(container = %container.id, %error, "keep the log of a removed container for its receiver");
    }
    // A container that was never started has no directory, which is no error.
    engine
        .snapshots
        .discard_container(container.own(&engine.files.dir(&container.id)))
        .map_err(|error| {
            Error::new(
                ErrorKind::System,
                format!("remove the files of container {}: {error}", container.id),
            )
        })?;
    conex_sys::failpoint::hit("remove.after-trash");
    Ok(())
}
