//! How many files the daemon may have open (getrlimit(2), `RLIMIT_NOFILE`).
//!
//! As many as the host allows it. The soft limit that it was started with is meant for programs that know no more than
//! select(2) does; it stays that of the template, and so of monitors and containers.

use std::io;
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Most that one reader of what a container uses keeps open.
const OF_A_READER: u64 = 20;

/// The part of all descriptors that such readers may keep.
const PART_OF_READERS: u64 = 4;

/// The limit, and who keeps files open for the time that they save.
#[derive(Debug)]
pub(crate) struct Descriptors {
    inherited: Rlimit,
    readers: Leave,
}

/// Leave to keep such files open, until it is dropped.
pub(crate) type Leave = Arc<()>;

impl Descriptors {
    /// Raises the limit as far as it goes.
    pub(crate) fn raise() -> Self {
        let inherited = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: inherited.maximum,
            ..inherited
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "raise the limit of open files");
        }
        Self {
            inherited,
            readers: Leave::default(),
        }
    }

    /// What the daemon was started with.
    pub(crate) fn inherited(&self) -> Rlimit {
        self.inherited
    }

    /// Leave to keep the files open that tell what a container uses. The limit is asked for each time: prlimit(1) changes it while the
    /// daemon runs.
    pub(crate) fn of_reader(&self) -> Option<Leave> {
        // No limit at all is `None`.
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / PART_OF_READERS / OF_A_READER;
        let leave = self.readers.clone();
        // One of them is ours.
        (Arc::strong_count(&leave) as u64 <= most + 1).then_some(leave)
    }
}

/// Gives a child the limit that the daemon was started with.
pub(crate) fn give_back(child: u32, inherited: Rlimit) -> io::Result<()> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, inherited)?;
    Ok(())
}
