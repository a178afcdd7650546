//! The messages. Each is one datagram of JSON on a `SOCK_SEQPACKET` socket; descriptors travel beside it.

use serde::{Deserialize, Serialize};

/// Version that every greeting carries. A peer of version n speaks n and n-1.
pub const VERSION: u32 = 2;

/// Largest datagram either side sends; plans are larger and travel in sealed memfds.
pub const MAX_DATAGRAM: usize = 64 * 1024;

/// Number that pairs an answer with its request, chosen by the daemon.
pub type Request = u64;

/// Request number of a message that is not answered: a client that is handed over before the start.
pub const NO_ANSWER: Request = 0;

/// Daemon to template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTemplate {
    /// First message.
    Hello {
        /// The daemon's version.
        version: u32,
    },
    /// Fork a monitor. Descriptors: `[order, channel, directory]`: a sealed memfd with a `MonitorOrder` as JSON; the
    /// monitor's end of a socket pair on which `ToMonitor` messages may be waiting already; and the run's directory,
    /// `<exec-root>/containers/<id>`, made by the daemon. The monitor binds `control.sock` in it and publishes
    /// `monitor.json` (a `MonitorRecord`) by rename. It holds the directory and not its name: a monitor that comes too
    /// late for a daemon that has given it up cannot get into the way of the next run. The descriptors of the order's
    /// plan follow.
    Fork {
        /// Pairs the answer.
        request: Request,
    },
}

/// Template to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTemplate {
    /// First message. Descriptor: `[program]`, the sealed memfd that the template runs from.
    Hello {
        /// The template's version.
        version: u32,
        /// Its pid.
        pid: i32,
        /// Which program it runs: another one has another text here. Empty before version 2.
        #[serde(default)]
        build: String,
    },
    /// The monitor exists. Descriptor: `[pidfd]` of the monitor.
    Forked {
        /// The request.
        request: Request,
        /// The monitor's pid.
        pid: i32,
    },
    /// There is no monitor.
    ForkFailed {
        /// The request.
        request: Request,
        /// What and why.
        message: String,
    },
}

/// What a monitor is told at its birth, with its plan of type `P`: a `conex_spec::plan::InitPlan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorOrder<P> {
    /// The container's id, 64 hexadecimal digits.
    pub container: String,
    /// Where the exit is recorded, by rename: an `ExitRecord` as JSON.
    pub exit_file: String,
    /// The log; `None` writes none.
    pub log: Option<LogOrder>,
    /// Keep standard input open when the last client that attached to it leaves (`StdinOnce` false).
    pub keep_stdin_open: bool,
    /// What the monitor carries out.
    pub plan: P,
}

/// How a monitor keeps its container's output: in files of Docker's `json-file` format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOrder {
    /// The file that is appended to.
    pub file: String,
    /// Bytes after which another is begun; `None` for no bound.
    pub max_size: Option<u64>,
    /// Files that are kept.
    pub max_files: u32,
    /// Whether older files are compressed.
    pub compress: bool,
    /// What each entry says of the container: an object as JSON, or nothing.
    pub attributes: String,
    /// The cursor of a reader for which the container waits when the files are full and it has not read the oldest. Since
    /// version 2; where it is not, the oldest are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<String>,
}

/// What a monitor publishes about itself once the container's process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorRecord {
    /// Protocol version.
    pub version: u32,
    /// The container's id.
    pub container: String,
    /// The monitor's pid.
    pub monitor_pid: i32,
    /// Start time of the monitor from `/proc/<pid>/stat`, field 22, against pid reuse.
    pub monitor_start: u64,
    /// Pid of the container's first process.
    pub pid: i32,
    /// Start time of that process, as above.
    pub pid_start: u64,
    /// `/proc/sys/kernel/random/boot_id` at the start.
    pub boot_id: String,
    /// Start of the container, RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// Directories of the container's cgroup, to be killed and removed when the monitor died.
    pub cgroup_dirs: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// Whether the kernel killed a process of the container for memory.
    pub oom_killed: bool,
    /// RFC 3339 with nanoseconds, UTC.
    pub finished_at: String,
    /// When the process that ended was started (tells this exit from one of an earlier start).
    pub started_at: String,
}

/// Which streams a client attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Client to process.
    pub stdin: bool,
    /// Process to client.
    pub stdout: bool,
    /// Process to client.
    pub stderr: bool,
}

/// How bytes to the client are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// As they are (a terminal).
    Raw,
    /// Eight-byte headers: stream 1 or 2, three zeros, length in big endian (Engine API, "Stream format").
    Multiplexed,
}

/// A client's connection handed to the monitor, which then owns it. The descriptor travels beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which streams.
    pub streams: Streams,
    /// How they are framed.
    pub framing: Framing,
    /// Bytes that the client sent before the hand-over, standard base64.
    pub preread: String,
    /// Key bytes that detach; empty for none. Docker's default is 16, 17 (ctrl-p, ctrl-q), on terminals only.
    pub detach_keys: Vec<u8>,
}

/// Daemon to monitor, on the channel or on a connection to `control.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToMonitor {
    /// First message on a connection to `control.sock`; answered by `FromMonitor::Hello`.
    Hello {
        /// The daemon's version.
        version: u32,
    },
    /// Let the held first process go on (after `FromMonitor::Held`).
    Go,
    /// Send a signal to the first process.
    Signal {
        /// Pairs the answer.
        request: Request,
        /// Number of the signal.
        signal: i32,
    },
    /// Change the size of a terminal.
    Resize {
        /// Pairs the answer.
        request: Request,
        /// The exec's id, `None` for the container's first process.
        exec: Option<String>,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Attach a client to the first process. Descriptor: `[client]`. Those that wait on the channel before the
    /// start (with `NO_ANSWER`) see the first byte.
    Attach {
        /// Pairs the answer.
        request: Request,
        /// The client.
        attachment: Attachment,
    },
    /// Start another process. Descriptors: `[plan]`, an `ExecPlan` as JSON in a sealed memfd, then `[client]`
    /// if `attachment` is set, then those of the plan.
    Exec {
        /// Pairs the answer.
        request: Request,
        /// The exec's id.
        exec: String,
        /// The client, `None` for a detached exec.
        attachment: Option<Attachment>,
    },
    /// Answer, after everything that happened before.
    Sync {
        /// Pairs the answer.
        request: Request,
    },
    /// Kill an exec's process and those of its session's process group; its end is told as any. Without an answer: one that
    /// has ended is no error.
    EndExec {
        /// The exec's id.
        exec: String,
    },
    /// Execute another `conex-shim` in the place of the monitor's own, with everything that it holds. Descriptor:
    /// `[program]`, a sealed memfd. The program that takes over answers `Done`; where it would not, `Refused` comes from the
    /// one that stays. Since version 2.
    Upgrade {
        /// Pairs the answer.
        request: Request,
        /// `FromTemplate::Hello::build` of the program.
        build: String,
    },
    /// Forget an exec that has ended; its exit is known to the daemon.
    ForgetExec {
        /// The exec's id.
        exec: String,
    },
}

/// Monitor to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromMonitor {
    /// First message on every connection: all that a new daemon needs to know.
    Hello {
        /// The monitor's version.
        version: u32,
        /// The container's id.
        container: String,
        /// Pid of the first process, 0 before the start.
        pid: i32,
        /// Start of the container, empty before the start.
        started_at: String,
        /// Processes started by `Exec` that were not forgotten.
        execs: Vec<ExecState>,
        /// Which program it runs, as in `FromTemplate::Hello`. Empty before version 2.
        #[serde(default)]
        build: String,
    },
    /// The first process waits for `ToMonitor::Go`.
    Held {
        /// Its pid in the daemon's pid namespace.
        pid: i32,
    },
    /// The first process executes its program.
    Started {
        /// Its pid.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
        /// Which program the monitor runs, as in `FromTemplate::Hello`. Empty before version 2.
        #[serde(default)]
        build: String,
    },
    /// The first process could not be started; the monitor has undone everything and ends.
    StartFailed(Failure),
    /// The first process ended; the exit is on disk. The monitor drains its clients and ends.
    Exited(ExitRecord),
    /// A request was carried out.
    Done {
        /// The request.
        request: Request,
    },
    /// A request was refused.
    Refused {
        /// The request.
        request: Request,
        /// Number of the error (errno(3)), 0 where none applies.
        errno: i32,
        /// What and why.
        message: String,
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
    ExecExited {
        /// The exec's id.
        exec: String,
        /// Exit code; 128 + n after signal n.
        code: i32,
    },
    /// A client left: by its detach keys, or because its connection broke.
    Detached {
        /// The exec's id, `None` for the container's first process.
        exec: Option<String>,
    },
}

/// State of an exec in a greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// The exec's id.
    pub exec: String,
    /// Its pid, 0 once it ended.
    pub pid: i32,
    /// Its exit code once it ended.
    pub code: Option<i32>,
}

/// Why a process could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind, so that the daemon picks Docker's exit code (126, 127) and status.
    pub reason: FailureReason,
    /// Words: the step, its object and the error.
    pub message: String,
}

impl Failure {
    /// One that no exit code of Docker's is kept for.
    pub fn other(message: &str) -> Self {
        Self {
            reason: FailureReason::Other,
            message: message.to_owned(),
        }
    }
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The program was not found in `PATH`, or its path does not exist (exit code 127).
    NotFound,
    /// The program may not be executed, or is a directory (exit code 126).
    NotExecutable,
    /// The user or group is not in the container's files.
    NoSuchUser,
    /// The working directory is unusable.
    WorkingDirectory,
    /// A limit was refused by the kernel.
    Limit,
    /// Anything else.
    Other,
}
