//! The daemon's side of one run of a container: the fork is asked for, the monitor starts it, requests are paired with
//! their answers, and its end is learned once.
//!
//! ```text
//!               Started, or Hello of a monitor found again          Exited, or the channel's end
//!   Launching ---------------------------------------------> Running --------------------------> Over
//!      |                                                                                          ^
//!      +--StartFailed, ForkFailed, or the channel's end once the template's answer is known-------+
//! ```
//!
//! A channel that ends in `Launching` before the template has answered says nothing yet: only with the template lost
//! too may the fork be asked for again, and then the container's cgroup is killed before.

use std::collections::BTreeSet;

use crate::message::{ExecState, ExitRecord, Failure, FromMonitor, Request};

/// What a daemon knows of a run.
#[derive(Debug)]
pub struct Run {
    phase: Phase,
    open: BTreeSet<Request>,
    next: Request,
}

#[derive(Debug)]
enum Phase {
    Launching { fork: Fork, ended: bool },
    Running,
    Over,
}

#[derive(Debug, Clone, Copy)]
enum Fork {
    Asked,
    Made,
    Unknown,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The template has forked the monitor.
    Forked,
    /// The template has not forked.
    ForkFailed(String),
    /// The template was lost before it answered.
    TemplateLost,
    /// The monitor sent this.
    Message(FromMonitor),
    /// The channel to the monitor has ended.
    ChannelEnded,
    /// A request could not be sent.
    SendFailed(Request),
}

/// What the daemon learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The first process waits for `ToMonitor::Go`.
    Held {
        /// Its pid.
        pid: i32,
    },
    /// The container runs.
    Started {
        /// Pid of the first process.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
        /// Execs that an earlier daemon started.
        execs: Vec<ExecState>,
        /// Which program its monitor runs, where that can execute another in its place.
        build: Option<String>,
    },
    /// The container does not run; the run is over.
    NotStarted(NotStarted),
    /// A request was carried out.
    Done {
        /// The request.
        request: Request,
    },
    /// A request was refused.
    Refused {
        /// The request.
        request: Request,
        /// What and why.
        message: String,
    },
    /// No answer will come to a request.
    Unanswered {
        /// The request.
        request: Request,
    },
    /// An exec runs.
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
    /// A client detached.
    Detached {
        /// The exec's id, `None` for the first process.
        exec: Option<String>,
    },
    /// The container has ended; the run is over.
    Exited(ExitRecord),
    /// The monitor is gone without a word; the run is over, and what is on disk tells the exit.
    Lost,
}

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// The monitor says why, and has undone everything.
    Failed(Failure),
    /// The template says why there is no monitor.
    NotForked(String),
    /// The monitor died in the start, or ended before it.
    MonitorLost,
    /// The template was lost in the fork; it may be asked for again.
    TemplateLost,
}

impl Run {
    /// A run whose monitor is asked for now.
    pub fn launch() -> Self {
        Self::new(Fork::Asked)
    }

    /// A run whose monitor was found and is being greeted.
    pub fn reconnect() -> Self {
        Self::new(Fork::Made)
    }

    fn new(fork: Fork) -> Self {
        Self {
            phase: Phase::Launching { fork, ended: false },
            open: BTreeSet::new(),
            next: 1,
        }
    }

    /// A number for a request; `None` where there is nobody to be asked.
    pub fn ask(&mut self) -> Option<Request> {
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        let request = self.next;
        self.next += 1;
        self.open.insert(request);
        Some(request)
    }

    /// Decides what an event tells, in order.
    pub fn on(&mut self, event: Event) -> Vec<News> {
        match event {
            Event::SendFailed(request) if self.open.remove(&request) => vec![News::Unanswered { request }],
            Event::SendFailed(_) => Vec::new(),
            event => match &mut self.phase {
                Phase::Launching { fork, ended } => {
                    match event {
                        Event::Forked => *fork = Fork::Made,
                        Event::TemplateLost => *fork = Fork::Unknown,
                        Event::ForkFailed(message) => return self.not_started(NotStarted::NotForked(message)),
                        Event::ChannelEnded => *ended = true,
                        Event::Message(message) => return self.on_first_words(message),
                        Event::SendFailed(_) => {}
                    }
                    match (*ended, *fork) {
                        (true, Fork::Made) => self.not_started(NotStarted::MonitorLost),
                        (true, Fork::Unknown) => self.not_started(NotStarted::TemplateLost),
                        _ => Vec::new(),
                    }
                }
                Phase::Running => match event {
                    Event::Message(message) => self.on_message(message),
                    Event::ChannelEnded => self.over(News::Lost),
                    // The monitor was quicker than its template.
                    _ => Vec::new(),
                },
                Phase::Over => Vec::new(),
            },
        }
    }

    fn on_first_words(&mut self, message: FromMonitor) -> Vec<News> {
        let (pid, started_at, execs, build) = match message {
            FromMonitor::Started { pid, started_at, build } => (pid, started_at, Vec::new(), build),
            FromMonitor::Hello {
                pid,
                started_at,
                execs,
                build,
                ..
            } => (pid, started_at, execs, build),
            FromMonitor::Held { pid } => return vec![News::Held { pid }],
            FromMonitor::StartFailed(failure) => return self.not_started(NotStarted::Failed(failure)),
            _ => return Vec::new(),
        };
        self.phase = Phase::Running;
        vec![News::Started {
            pid,
            started_at,
            execs,
            build: Some(build).filter(|build| !build.is_empty()),
        }]
    }

    fn on_message(&mut self, message: FromMonitor) -> Vec<News> {
        match message {
            FromMonitor::Done { request } if self.open.remove(&request) => vec![News::Done { request }],
            FromMonitor::Refused { request, message, .. } if self.open.remove(&request) => {
                vec![News::Refused { request, message }]
            }
            FromMonitor::ExecStarted { request, exec, pid } if self.open.remove(&request) => {
                vec![News::ExecStarted { request, exec, pid }]
            }
            FromMonitor::ExecFailed { request, exec, failure } if self.open.remove(&request) => {
                vec![News::ExecFailed { request, exec, failure }]
            }
            FromMonitor::ExecExited { exec, code } => vec![News::ExecEnded { exec, code }],
            FromMonitor::Detached { exec } => vec![News::Detached { exec }],
            FromMonitor::Exited(record) => self.over(News::Exited(record)),
            // Answers that nobody waits for, and first words that were said already.
            _ => Vec::new(),
        }
    }

    fn not_started(&mut self, why: NotStarted) -> Vec<News> {
        self.over(News::NotStarted(why))
    }

    /// Ends the run: what was asked gets no answer any more.
    fn over(&mut self, news: News) -> Vec<News> {
        self.phase = Phase::Over;
        let open = std::mem::take(&mut self.open).into_iter();
        open.map(|request| News::Unanswered { request }).chain([news]).collect()
    }
}

/// What a run that nobody watched has left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// A start is noted and its failure is not.
    pub begun: bool,
    /// It began since the host's boot.
    pub this_boot: bool,
    /// `exit.json`.
    pub exit: Option<ExitRecord>,
    /// Start of the container in `monitor.json`.
    pub monitor: Option<String>,
}

/// What became of such a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its program never ran: the container is as before.
    AsBefore,
    /// It ended like this.
    Ended(ExitRecord),
    /// Nobody saw its end; the start where it is known.
    Unknown(Option<String>),
}

/// Judges a run by its traces; there is no monitor of it any more.
pub fn judge(traces: Traces) -> Verdict {
    match traces {
        Traces { exit: Some(record), .. } => Verdict::Ended(record),
        Traces { begun: false, .. } => Verdict::AsBefore,
        Traces { this_boot: false, .. } => Verdict::Unknown(None),
        Traces { monitor: None, .. } => Verdict::AsBefore,
        Traces { monitor, .. } => Verdict::Unknown(monitor),
    }
}
