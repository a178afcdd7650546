//! How a container's output is kept: what its monitor is told of it.

use std::fs;
use std::path::PathBuf;

use conex_container::logging::{Driver, Logging, TagFacts};
use conex_protocol::message::LogOrder;

use crate::containers::Container;
use crate::containers::launch::system;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// How it is kept; it was checked when the container was made.
fn logging(container: &Container) -> Result<Logging> {
    Logging::of(&container.config.host.log_config)
        .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))
}

/// The log's newest file; `None` where there is no log.
pub(crate) fn file(engine: &Inner, container: &Container) -> Option<PathBuf> {
    match logging(container).ok()?.driver {
        Driver::JsonFile => Some(engine.files.json_log(&container.id)),
        Driver::Local => Some(engine.files.local_log(&container.id)),
        Driver::None => None,
    }
}

/// What the monitor of a start is told.
pub(crate) fn order(engine: &Inner, container: &Container) -> Result<Option<LogOrder>> {
    let logging = logging(container)?;
    let Some(file) = file(engine, container) else {
        return Ok(None);
    };
    if logging.driver == Driver::Local
        && let Some(dir) = file.parent()
    {
        fs::create_dir_all(dir).map_err(system(format!("create {}", dir.display())))?;
    }
    let facts = TagFacts {
        id: container.id.clone(),
        name: container.name.clone(),
        image_id: container.image.clone(),
        image_name: container.config.image.clone(),
        command: container.config.argv().join(" "),
        hostname: engine.host.name.clone(),
    };
    let attributes = logging.attributes(&container.config, &facts);
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&attributes)
            .map_err(|error| Error::new(ErrorKind::System, "encode what the log tells").caused_by(error))?
    };
    Ok(Some(LogOrder {
        file: file.display().to_string(),
        max_size: logging.max_size,
        max_files: logging.max_files,
        compress: logging.compress,
        attributes,
    }))
}
