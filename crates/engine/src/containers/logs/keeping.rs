//! How a container's output is kept: what its monitor is told of it.

use std::fs;
use std::path::{Path, PathBuf};

use conex_container::logging::{Driver, Logging, TagFacts};
use conex_forward::{About, Follow};
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

/// The log's newest file; `None` where there is no log, or none for clients.
pub(crate) fn file(engine: &Inner, container: &Container) -> Option<PathBuf> {
    let logging = logging(container).ok().filter(|logging| logging.is_readable)?;
    newest(engine, container, logging.driver)
}

fn newest(engine: &Inner, container: &Container, driver: Driver) -> Option<PathBuf> {
    match driver {
        Driver::JsonFile => Some(engine.files.json_log(&container.id)),
        Driver::Local | Driver::Remote => Some(engine.files.local_log(&container.id)),
        Driver::None => None,
    }
}

/// What the forwarder is told of a log that goes elsewhere; `None` of others.
pub(crate) fn forwarding(engine: &Inner, container: &Container, live: bool) -> Option<Follow> {
    let logging = logging(container).ok()?;
    let to = logging.remote.clone()?;
    let log = newest(engine, container, logging.driver)?;
    Some(Follow {
        name: container.id.clone(),
        number: 0,
        cursor: cursor(&log),
        log,
        live,
        about: about(engine, container, &logging),
        to,
    })
}

/// What the forwarder has delivered of a log.
fn cursor(log: &Path) -> PathBuf {
    log.with_file_name("cursor.json")
}

fn about(engine: &Inner, container: &Container, logging: &Logging) -> About {
    let facts = facts(engine, container);
    // The tag has a field of its own.
    let mut attributes = logging.attributes(&container.config, &facts);
    attributes.remove("tag");
    About {
        tag: logging.remote_tag(&facts),
        attributes,
        created: container.created.clone(),
        hostname: facts.hostname,
        container_id: facts.id,
        container_name: facts.name,
        image_id: facts.image_id,
        image_name: facts.image_name,
        command: facts.command,
    }
}

fn facts(engine: &Inner, container: &Container) -> TagFacts {
    TagFacts {
        id: container.id.clone(),
        name: container.name.clone(),
        image_id: container.image.clone(),
        image_name: container.config.image.clone(),
        command: container.config.argv().join(" "),
        hostname: engine.host.name.clone(),
    }
}

/// What the monitor of a start is told.
pub(crate) fn order(engine: &Inner, container: &Container) -> Result<Option<LogOrder>> {
    let logging = logging(container)?;
    let Some(file) = newest(engine, container, logging.driver) else {
        return Ok(None);
    };
    if logging.driver != Driver::JsonFile
        && let Some(dir) = file.parent()
    {
        fs::create_dir_all(dir).map_err(system(format!("create {}", dir.display())))?;
    }
    let attributes = logging.attributes(&container.config, &facts(engine, container));
    // A receiver elsewhere is told by the forwarder.
    let attributes = if attributes.is_empty() || logging.driver == Driver::Remote {
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
        awaited: logging.awaits_receiver.then(|| cursor(&file).display().to_string()),
    }))
}
