//! Guards against what containers try, and the switch that tests of exploits need.
//!
//! That an exploit fails says something only where it succeeds without its guard. So a program that is built with the feature
//! `without-guards` does without the guards that `CONEX_WITHOUT_GUARD` names, and waits where `CONEX_RACE` says, so that a
//! test wins a race each time. Nothing enables the feature but the tests of exploits, which build a program of their own; in
//! all others each guard holds whatever the environment says. `docs/security.md` has the guards with their exploits.

use std::path::Path;

/// A guard that stands in code. What a specification says, masked paths for example, needs no switch here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Paths of a container are resolved beneath its root (`path::open_in`).
    Root,
    /// What a program has open is not there any more when a path of the container is followed or its program executed.
    Descriptors,
    /// A working directory is not reached by a link of `/proc`, and is below the root.
    WorkingDirectory,
    /// The runtime runs from a sealed copy of itself.
    SealedProgram,
    /// Nobody in a container may look into a process of ours that comes there.
    Dumpable,
    /// What hides a file is the null device.
    NullDevice,
    /// Files of procfs and sysfs are reached from the mounts that were made, not by name.
    KernelMounts,
    /// Something is mounted on the place that was opened, not on what has its name by then.
    MountPlace,
    /// The terminal is bound by its descriptor, to a `/dev/console` that is no link.
    Console,
}

impl Guard {
    /// Whether it is in force.
    #[cfg(not(feature = "without-guards"))]
    #[inline]
    #[must_use]
    pub fn holds(self) -> bool {
        true
    }

    /// Whether it is in force: the environment does not name it.
    #[cfg(feature = "without-guards")]
    #[must_use]
    pub fn holds(self) -> bool {
        let without = std::env::var("CONEX_WITHOUT_GUARD").unwrap_or_default();
        !without.split(',').any(|name| name == format!("{self:?}"))
    }
}

/// A moment that an attacker would have to hit.
#[cfg(not(feature = "without-guards"))]
#[inline]
pub fn race(_operation: &str, _object: &Path) {}

/// A moment that an attacker would have to hit: with `CONEX_RACE=operation:object:fifo` the program waits there until somebody
/// has opened the fifo for writing, and closed it.
#[cfg(feature = "without-guards")]
pub fn race(operation: &str, object: &Path) {
    let wanted = std::env::var("CONEX_RACE").unwrap_or_default();
    if let Some(fifo) = wanted.strip_prefix(&format!("{operation}:{}:", object.display())) {
        // Where the fifo is not there, the test waits in vain, and says so.
        let _ = std::fs::read(fifo);
    }
}
