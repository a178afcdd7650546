//! What the owner of a container is asked, and what becomes of what it asked its monitor.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use conex_api_types as api;
use conex_container::health::Outcome;
use conex_protocol::message::Attachment;
use tokio::sync::oneshot;

use super::refusal::not_running;
use super::{After, NetworkChange};
use crate::containers::Container;
use crate::containers::removal::Unnamed;
use crate::error::Result;
use crate::template::Program;

/// Answer to an order.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the owner of a container is asked to do.
pub(crate) enum Order {
    /// Start it.
    Start { reply: Reply<()> },
    /// Start it, where it waits for that.
    StartAgain,
    /// Remove it, killing it first where `force` is set.
    Remove {
        force: bool,
        unnamed: Unnamed,
        reply: Reply<()>,
    },
    /// Give it another name.
    Rename { name: String, reply: Reply<()> },
    /// Connect it to a network or disconnect it, now and whenever it runs.
    Networks { change: NetworkChange, reply: Reply<()> },
    /// Change its limits.
    Update {
        asked: Box<api::HostConfig>,
        reply: Reply<()>,
    },
    /// Freeze its processes.
    Pause { reply: Reply<()> },
    /// Let its processes go on.
    Unpause { reply: Reply<()> },
    /// Freeze its processes for a commit; the answer is whether that was for the commit to do.
    Hold { reply: Reply<bool> },
    /// Let go on what a commit has frozen.
    LetGo { reply: Reply<()> },
    /// Send a signal to its first process.
    Signal {
        signal: i32,
        after: After,
        reply: Reply<()>,
    },
    /// Set the size of a terminal, of an exec or of the container itself.
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
        reply: Reply<()>,
    },
    /// Hand a client over; it waits for the start where the container does not run yet.
    Attach {
        attachment: Attachment,
        client: OwnedFd,
        /// How many runs had ended when it came to one that was going on: with that run, it goes.
        during: Option<u64>,
        reply: Reply<()>,
    },
    /// Take what the monitor knows by now.
    Sync { reply: Reply<()> },
    /// Start another process; the answer is its pid.
    Exec { exec: ExecOrder, reply: Reply<i32> },
    /// Start a health check; its exit code is sent when it ends.
    Probe {
        exec: ExecOrder,
        ended: oneshot::Sender<i32>,
        reply: Reply<i32>,
    },
    /// Take the result of a health check. `counts`: the start period was over; `during`: how many runs had ended before the
    /// one that it is of.
    Probed {
        outcome: Outcome,
        counts: bool,
        during: u64,
        reply: Reply<()>,
    },
    /// Kill an exec.
    EndExec { exec: String },
    /// Have the monitor execute a program in its own place, where it runs another; the answer is whether it did.
    Upgrade { program: Arc<Program>, reply: Reply<bool> },
    /// Let the monitor forget an exec that ended.
    ForgetExec { exec: String },
}

/// A process to start in a running container.
pub(crate) struct ExecOrder {
    /// The exec's id.
    pub(crate) exec: String,
    /// The event that tells of its start, which is before its end; none where nobody is told.
    pub(crate) told_as: Option<String>,
    /// The `ExecPlan` as JSON in a sealed memfd.
    pub(crate) plan: OwnedFd,
    /// Who is attached.
    pub(crate) client: Option<(Attachment, OwnedFd)>,
    /// Descriptors that the plan names.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Who waits for an answer of the monitor.
pub(super) enum Pending {
    Answer(Reply<()>),
    /// Of who sends a signal, which is told of once it was sent: before the end that it brings about.
    Signal {
        signal: i32,
        reply: Reply<()>,
    },
    /// Of a client that attaches: one that comes when the run ends has seen all there is.
    Attach(Reply<()>),
    Exec {
        told_as: Option<String>,
        reply: Reply<i32>,
    },
    /// Of an upgrade to this build.
    Upgrade {
        build: String,
        reply: Reply<bool>,
    },
}

impl Pending {
    pub(super) fn settle(self, outcome: Result<i32>) {
        match self {
            Self::Answer(reply) | Self::Signal { reply, .. } | Self::Attach(reply) => {
                answer(reply, outcome.map(|_| ()))
            }
            Self::Exec { reply, .. } => answer(reply, outcome),
            Self::Upgrade { reply, .. } => answer(reply, outcome.map(|_| true)),
        }
    }

    /// The run ended before it was answered.
    pub(super) fn came_late(self, container: &Container) {
        match self {
            Self::Attach(reply) => answer(reply, Ok(())),
            other => other.settle(Err(not_running(container))),
        }
    }
}

/// Answers; a client that went away meanwhile is no error.
pub(super) fn answer<T>(reply: Reply<T>, outcome: Result<T>) {
    let _ = reply.send(outcome);
}
