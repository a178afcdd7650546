//! Removal: the record goes first and durably, then the directory goes to the trash by one rename.
//!
//! A crash between the two leaves a directory without a record, which the next start collects.

use crate::containers::Container;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Removes a container that does not run.
pub(crate) async fn remove(engine: &Inner, container: &Container) -> Result<()> {
    conex_sys::failpoint::hit("remove.before-record");
    engine.records.remove(container).await?;
    conex_sys::failpoint::hit("remove.after-record");
    engine.containers.forget(container);
    conex_sys::failpoint::hit("remove.before-trash");
    // A container that was never started has no directory, which is no error.
    engine
        .snapshots
        .discard(&engine.files.dir(&container.id))
        .map_err(|error| {
            Error::new(
                ErrorKind::System,
                format!("remove the files of container {}: {error}", container.id),
            )
        })?;
    conex_sys::failpoint::hit("remove.after-trash");
    Ok(())
}
