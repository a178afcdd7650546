//! What a monitor holds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use conex_cgroup::Cgroup;
use conex_protocol::message::{Framing, Streams};
use conex_protocol::monitor;
use conex_sys::seqpacket::{Listener, Socket};

use crate::monitor::detach::Detach;
use crate::monitor::events::Events;
use crate::monitor::log::Log;
use crate::monitor::memory::KernelLog;
use crate::monitor::run_dir::RunDir;

/// Number of a process: the container's first one is 0, execs count on.
pub(crate) type ProcessKey = u32;

/// The container's first process.
pub(crate) const FIRST: ProcessKey = 0;

/// Paths and settings of the order that outlive the start.
pub(crate) struct Order {
    pub(crate) exit_file: String,
    pub(crate) keep_stdin_open: bool,
}

/// A monitor of a container that runs.
pub(crate) struct Monitor {
    pub(crate) order: Order,
    pub(crate) run_dir: RunDir,
    /// What is said to whom, and what the next daemon has to know.
    pub(crate) protocol: monitor::Monitor,
    pub(crate) events: Events,
    /// The connection to the daemon, while there is one.
    pub(crate) daemon: Option<Socket>,
    pub(crate) newcomers: BTreeMap<u32, Socket>,
    /// `control.sock`, until the container has ended.
    pub(crate) listener: Option<Listener>,
    /// Readable when a child has ended.
    pub(crate) children: OwnedFd,
    pub(crate) processes: BTreeMap<ProcessKey, Process>,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) log: Option<Log>,
    pub(crate) cgroup: Option<Cgroup>,
    /// Where the count of a scope may be gone.
    pub(crate) kernel_log: Option<KernelLog>,
    /// Held so that the exit does not wait for the kernel to take them down.
    pub(crate) namespaces: Vec<OwnedFd>,
    pub(crate) started_at: String,
    /// Whether everything of the container dies with its first process by itself: it has a pid namespace of its own.
    pub(crate) own_pid_namespace: bool,
    pub(crate) next: u32,
}

impl Monitor {
    /// A number for a new client, process or newcomer.
    pub(crate) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

/// A process that the monitor is the parent of.
pub(crate) struct Process {
    /// The exec's id; `None` for the first process.
    pub(crate) exec: Option<String>,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Standard input, or the terminal's master.
    pub(crate) input: Option<Input>,
    /// Stream number and read end; a terminal's master is stream 1.
    pub(crate) outputs: Vec<Output>,
    pub(crate) terminal: bool,
}

/// The write side of a process's standard input.
pub(crate) struct Input {
    pub(crate) fd: OwnedFd,
    /// What the process has not taken yet.
    pub(crate) waiting: Vec<u8>,
    /// Closed once everything was taken.
    pub(crate) close: bool,
    /// Whether the event loop waits for room.
    pub(crate) watched: bool,
}

/// The read side of one of a process's outputs.
pub(crate) struct Output {
    pub(crate) stream: u8,
    pub(crate) fd: OwnedFd,
    /// Not read while a client's buffer is full.
    pub(crate) paused: bool,
}

/// A client that was handed over.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    pub(crate) process: ProcessKey,
    pub(crate) streams: Streams,
    pub(crate) framing: Framing,
    pub(crate) detach: Detach,
    /// What it has not taken yet.
    pub(crate) waiting: Vec<u8>,
    /// It has closed its sending side.
    pub(crate) input_ended: bool,
    /// Its process has ended; it is let go once it has taken everything.
    pub(crate) finishing: bool,
    /// It has closed its connection; what it sent before is still read.
    pub(crate) departed: bool,
    /// What the event loop waits for.
    pub(crate) interest: rustix::event::epoll::EventFlags,
}
