//! What cannot be done with a container as it is, in Docker's words.

use conex_container::state::Refusal;

use crate::containers::Container;
use crate::error::{Error, ErrorKind};

/// Docker's words for what only a running container can do.
pub(crate) fn not_running(container: &Container) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("container {} is not running", container.id),
    )
}

/// Docker's words for what only a running container can do, where it waits to be started again.
pub(crate) fn restarting(container: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("Container {container} is restarting, wait until the container is running"),
    )
}

/// A refusal of the state machine in Docker's words.
pub(super) fn refused(refusal: Refusal, container: &Container) -> Error {
    let id = &container.id;
    match refusal {
        Refusal::AlreadyRunning | Refusal::Starting => {
            Error::new(ErrorKind::NotModified, "container is already running")
        }
        Refusal::Running => Error::new(
            ErrorKind::Conflict,
            format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                container.name
            ),
        ),
        Refusal::Restarting => Error::new(
            ErrorKind::Conflict,
            format!(
                "cannot remove container \"{}\": container is restarting: stop the container before removing or force remove",
                container.name
            ),
        ),
        Refusal::Removing => Error::new(
            ErrorKind::Conflict,
            "container is marked for removal and cannot be started",
        ),
        Refusal::StartPaused => Error::new(
            ErrorKind::Conflict,
            "cannot start a paused container, try unpause instead",
        ),
        Refusal::AlreadyPaused => Error::new(ErrorKind::Conflict, format!("Container {id} is already paused")),
        // Docker's own class.
        Refusal::NotPaused => Error::new(ErrorKind::System, format!("Container {id} is not paused")),
        Refusal::NotRunning => not_running(container),
        Refusal::Paused => Error::new(
            ErrorKind::Conflict,
            format!(
                "cannot remove container \"{}\": container is paused and must be unpaused first",
                container.name
            ),
        ),
        Refusal::Stale => Error::new(ErrorKind::System, refusal.to_string()),
    }
}
