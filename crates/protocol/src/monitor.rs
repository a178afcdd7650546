//! The monitor's side: what it answers, whom it answers to, and what it remembers for the daemon that comes next.
//!
//! ```text
//!                Held / Go              Started                    Ended(record)
//!   Starting --------------> Starting ----------> Running ---------------------> Over
//!      |                                            ^  |
//!      | StartFailed                                |  +-- requests, execs, clients that leave
//!      v                                            |
//!    Over             Greeting of a later daemon ---+   (the earlier connection is let go)
//! ```
//!
//! The machine decides; `conex-shim` carries out and feeds the outcome back. Nothing here touches a process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::{Attachment, ExecState, ExitRecord, Failure, FromMonitor, NO_ANSWER, Request, ToMonitor, VERSION};

/// What a monitor knows.
#[derive(Debug)]
pub struct Monitor {
    container: String,
    /// Which program it runs.
    build: String,
    phase: Phase,
    /// There is a daemon that listens.
    connected: bool,
    execs: BTreeMap<String, ExecState>,
}

#[derive(Debug)]
enum Phase {
    Starting { held: bool },
    Running { pid: i32, started_at: String },
    Over,
}

/// What a monitor of a container that runs remembers, for the program that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The container's id.
    pub container: String,
    /// Pid of its first process.
    pub pid: i32,
    /// Its start, RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// There is a daemon that listens.
    pub connected: bool,
    /// The execs that were not forgotten.
    pub execs: Vec<ExecState>,
}

/// What happens to a monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The daemon sent a message with `fds` descriptors.
    Message {
        /// The message.
        message: ToMonitor,
        /// How many descriptors came with it.
        fds: usize,
    },
    /// Somebody connected to `control.sock` and sent this first.
    Greeting(ToMonitor),
    /// The connection to the daemon is gone.
    DaemonLost,
    /// The first process exists and waits to be placed.
    Held {
        /// Its pid.
        pid: i32,
    },
    /// The first process executes its program.
    Started {
        /// Its pid.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
    },
    /// It could not be started, and everything is undone.
    StartFailed(Failure),
    /// A request was carried out, or refused with an errno(3) and words.
    Settled {
        /// The request.
        request: Request,
        /// How it went.
        outcome: Result<(), (i32, String)>,
    },
    /// An exec executes its program.
    ExecStarted {
        /// The request.
        request: Request,
        /// The exec's id.
        exec: String,
        /// Its pid.
        pid: i32,
    },
    /// An exec could not be started.
    ExecFailed {
        /// The request.
        request: Request,
        /// The exec's id.
        exec: String,
        /// Why.
        failure: Failure,
    },
    /// An exec ended.
    ExecEnded {
        /// The exec's id.
        exec: String,
        /// Exit code; 128 + n after signal n.
        code: i32,
    },
    /// A client left by its detach keys.
    Detached {
        /// The exec's id, `None` for the first process.
        exec: Option<String>,
    },
    /// The first process ended, and its exit is on disk.
    Ended(ExitRecord),
}

/// What a monitor does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the daemon.
    Tell(FromMonitor),
    /// The newcomer is the daemon from now on; an earlier connection is closed.
    TakeOver,
    /// The newcomer's connection is closed.
    SendAway,
    /// Keep the client that came with the message until the first process runs.
    Keep(Attachment),
    /// Let the held first process go on.
    Release,
    /// Signal the first process, then feed `Settled`.
    Signal {
        /// The request.
        request: Request,
        /// Number of the signal.
        signal: i32,
    },
    /// Set the size of a terminal, then feed `Settled`.
    Resize {
        /// The request.
        request: Request,
        /// The exec's id, `None` for the first process.
        exec: Option<String>,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Attach the client that came with the message, then feed `Settled`.
    Attach {
        /// The request.
        request: Request,
        /// How it attaches.
        attachment: Attachment,
    },
    /// Start an exec with the descriptors of the message, then feed `ExecStarted` or `ExecFailed`.
    Exec {
        /// The request.
        request: Request,
        /// The exec's id.
        exec: String,
        /// How its client attaches, if it has one.
        attachment: Option<Attachment>,
    },
    /// Kill an exec and its process group, where it runs.
    EndExec {
        /// The exec's id.
        exec: String,
    },
    /// Execute the program that came with the message; feed `Settled` where that fails. Who takes over does it otherwise.
    Upgrade {
        /// The request.
        request: Request,
        /// Which program it is.
        build: String,
    },
}

impl Monitor {
    /// A monitor that was just born, with the daemon that ordered it at the other end of its channel.
    pub fn new(container: String, build: String) -> Self {
        Self {
            container,
            build,
            phase: Phase::Starting { held: false },
            connected: true,
            execs: BTreeMap::new(),
        }
    }

    /// A monitor that goes on where another program was.
    pub fn resume(memory: Memory, build: String) -> Self {
        let execs = memory.execs.into_iter();
        Self {
            container: memory.container,
            build,
            phase: Phase::Running {
                pid: memory.pid,
                started_at: memory.started_at,
            },
            connected: memory.connected,
            execs: execs.map(|state| (state.exec.clone(), state)).collect(),
        }
    }

    /// What another program has to know to go on; nothing where the container does not run.
    pub fn memory(&self) -> Option<Memory> {
        let Phase::Running { pid, started_at } = &self.phase else {
            return None;
        };
        Some(Memory {
            container: self.container.clone(),
            pid: *pid,
            started_at: started_at.clone(),
            connected: self.connected,
            execs: self.execs.values().cloned().collect(),
        })
    }

    /// Whether the container's end has been told, or is on disk for the next daemon.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Decides what an input leads to, in order.
    pub fn on(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::Message { message, fds } => self.on_message(message, fds),
            Input::Greeting(greeting) => self.on_greeting(&greeting),
            Input::DaemonLost => {
                self.connected = false;
                Vec::new()
            }
            Input::Held { pid } => {
                self.phase = Phase::Starting { held: true };
                self.tell(FromMonitor::Held { pid })
            }
            Input::Started { pid, started_at } => {
                self.phase = Phase::Running {
                    pid,
                    started_at: started_at.clone(),
                };
                let build = self.build.clone();
                self.tell(FromMonitor::Started { pid, started_at, build })
            }
            Input::StartFailed(failure) => {
                self.phase = Phase::Over;
                self.tell(FromMonitor::StartFailed(failure))
            }
            Input::Settled { request, outcome } => self.answer(request, outcome),
            Input::ExecStarted { request, exec, pid } => {
                let state = ExecState {
                    exec: exec.clone(),
                    pid,
                    code: None,
                };
                self.execs.insert(exec.clone(), state);
                self.tell(FromMonitor::ExecStarted { request, exec, pid })
            }
            Input::ExecFailed { request, exec, failure } => {
                self.tell(FromMonitor::ExecFailed { request, exec, failure })
            }
            Input::ExecEnded { exec, code } => self.on_exec_end(exec, code),
            Input::Detached { exec } => self.tell(FromMonitor::Detached { exec }),
            Input::Ended(record) => {
                self.phase = Phase::Over;
                self.tell(FromMonitor::Exited(record))
            }
        }
    }

    fn on_message(&mut self, message: ToMonitor, fds: usize) -> Vec<Output> {
        match (&self.phase, message) {
            (Phase::Starting { held: true }, ToMonitor::Go) => {
                self.phase = Phase::Starting { held: false };
                vec![Output::Release]
            }
            (Phase::Starting { .. }, ToMonitor::Attach { attachment, .. }) if fds > 0 => vec![Output::Keep(attachment)],
            // A greeting where none is due and a late `Go` change nothing.
            (_, ToMonitor::Hello { .. } | ToMonitor::Go) => Vec::new(),
            (_, ToMonitor::ForgetExec { exec }) => {
                if self.execs.get(&exec).is_some_and(|state| state.code.is_some()) {
                    self.execs.remove(&exec);
                }
                Vec::new()
            }
            (_, ToMonitor::EndExec { exec }) => vec![Output::EndExec { exec }],
            (_, ToMonitor::Sync { request }) => self.answer(request, Ok(())),
            (Phase::Running { .. }, ToMonitor::Signal { request, signal }) => vec![Output::Signal { request, signal }],
            (
                Phase::Running { .. },
                ToMonitor::Resize {
                    request,
                    exec,
                    rows,
                    columns,
                },
            ) => vec![Output::Resize {
                request,
                exec,
                rows,
                columns,
            }],
            (Phase::Running { .. }, ToMonitor::Attach { request, attachment }) if fds > 0 => {
                vec![Output::Attach { request, attachment }]
            }
            (
                Phase::Running { .. },
                ToMonitor::Exec {
                    request,
                    exec,
                    attachment,
                },
            ) if fds > usize::from(attachment.is_some()) && !self.execs.contains_key(&exec) => vec![Output::Exec {
                request,
                exec,
                attachment,
            }],
            (Phase::Running { .. }, ToMonitor::Upgrade { request, build }) if fds > 0 => {
                vec![Output::Upgrade { request, build }]
            }
            (phase, message) => {
                let words = match phase {
                    Phase::Starting { .. } => "the container is being started",
                    Phase::Over => "the container has ended",
                    Phase::Running { .. } => "the request lacks a descriptor or repeats an exec",
                };
                self.refuse(message, words)
            }
        }
    }

    fn refuse(&self, message: ToMonitor, words: &str) -> Vec<Output> {
        match message {
            ToMonitor::Exec { request, exec, .. } => self.tell(FromMonitor::ExecFailed {
                request,
                exec,
                failure: Failure::other(words),
            }),
            ToMonitor::Signal { request, .. }
            | ToMonitor::Resize { request, .. }
            | ToMonitor::Attach { request, .. }
            | ToMonitor::Upgrade { request, .. }
            | ToMonitor::Sync { request } => self.answer(request, Err((0, words.to_owned()))),
            ToMonitor::Hello { .. } | ToMonitor::Go | ToMonitor::EndExec { .. } | ToMonitor::ForgetExec { .. } => {
                Vec::new()
            }
        }
    }

    /// A newcomer that greets in a version that is spoken becomes the daemon, as long as there is something to watch.
    fn on_greeting(&mut self, greeting: &ToMonitor) -> Vec<Output> {
        let &ToMonitor::Hello { version } = greeting else {
            return vec![Output::SendAway];
        };
        let Phase::Running { pid, started_at } = &self.phase else {
            // Over: the exit is on disk, and the end of the connection says so.
            return vec![Output::SendAway];
        };
        if version.abs_diff(VERSION) > 1 {
            return vec![Output::SendAway];
        }
        self.connected = true;
        let hello = FromMonitor::Hello {
            version: VERSION,
            container: self.container.clone(),
            pid: *pid,
            started_at: started_at.clone(),
            execs: self.execs.values().cloned().collect(),
            build: self.build.clone(),
        };
        vec![Output::TakeOver, Output::Tell(hello)]
    }

    fn on_exec_end(&mut self, exec: String, code: i32) -> Vec<Output> {
        if let Some(state) = self.execs.get_mut(&exec) {
            state.pid = 0;
            state.code = Some(code);
        }
        // Whoever was told of the container's end knows that nothing outlived it.
        if self.is_over() {
            return Vec::new();
        }
        self.tell(FromMonitor::ExecExited { exec, code })
    }

    fn answer(&self, request: Request, outcome: Result<(), (i32, String)>) -> Vec<Output> {
        if request == NO_ANSWER {
            return Vec::new();
        }
        self.tell(match outcome {
            Ok(()) => FromMonitor::Done { request },
            Err((errno, message)) => FromMonitor::Refused {
                request,
                errno,
                message,
            },
        })
    }

    /// Tells the daemon, where there is one; the next one asks.
    fn tell(&self, message: FromMonitor) -> Vec<Output> {
        if self.connected {
            vec![Output::Tell(message)]
        } else {
            Vec::new()
        }
    }
}
