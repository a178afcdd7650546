//! The life of a container as a state machine.
//!
//! ```text
//!              Start              Started              Exited
//!   Created ----------> Starting ----------> Running -----------> Exited --+
//!      |                   |                    |                  |  ^    |
//!      |                   | StartFailed        | Remove{force}    |  |    | Start
//!      |                   v                    v                  |  |    v
//!      |                Exited / Created     (killed first)        |  +- Starting
//!      | Remove                                                    | Remove
//!      +-------------------------> Removing <----------------------+
//!                                     | Removed
//!                                     v
//!                                   Gone
//! ```
//!
//! A container whose policy wants it started again is `Restarting` from its end to that start, unless somebody gives it up.
//!
//! ```text
//!   Exited --Await--> Restarting --Restart--> Starting{again}
//!                         |  +--Remove{force}--> Removing
//!                         +--GiveUp--> Exited
//! ```
//!
//! A container that runs may be paused: its processes are frozen where they are until `Unpaused`, or until they are killed.
//!
//! `State::on` decides; the engine's task of the container carries the actions out and feeds their outcome back.

use serde::{Deserialize, Serialize};

/// How the last run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + n after signal n; 127 or 126 when the program could not be executed; 255 when unknown.
    pub code: i32,
    /// Whether the kernel killed a process of the container for memory.
    pub oom_killed: bool,
    /// RFC 3339 with nanoseconds, UTC.
    pub started_at: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub finished_at: String,
    /// Why it could not be started, in the words that clients were told.
    pub error: Option<String>,
}

impl Exit {
    /// Whether anything ran, now or in a run before; else only starts have failed.
    pub fn has_run(&self) -> bool {
        !self.started_at.starts_with("0001-")
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// A monitor is being asked to start it; `before` is what it returns to when that fails before anything ran.
    Starting {
        /// How the run before ended, if there was one.
        before: Option<Exit>,
        /// Whether its policy wants it.
        again: bool,
    },
    /// Its first process runs.
    Running {
        /// Pid of the first process in the daemon's namespace.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
        /// Whether its processes are frozen.
        paused: bool,
    },
    /// Its first process ended.
    Exited(Exit),
    /// Its first process ended, and it waits to be started again.
    Restarting(Exit),
    /// It is being removed; nothing else is accepted.
    Removing,
    /// It is gone.
    Gone,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client wants it started.
    Start,
    /// The first process executes its program.
    Started {
        /// Pid of the first process.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
    },
    /// Its processes were frozen.
    Paused,
    /// Its processes were let go on.
    Unpaused,
    /// The first process could not be started.
    StartFailed(Exit),
    /// The first process ended, or its monitor died (code 255 then).
    Exited(Exit),
    /// A client wants it removed.
    Remove {
        /// Whether a running one is killed first.
        force: bool,
    },
    /// Its policy wants it started again, after a while.
    Await,
    /// That while is over.
    Restart,
    /// It is not to be started again.
    GiveUp,
    /// Everything of it was removed.
    Removed,
}

/// What the owner of the container has to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Order a monitor.
    Launch,
    /// Send SIGKILL to the first process and wait for its exit; then ask again.
    Kill,
    /// Release what a run held (address, network).
    ReleaseRun,
    /// Delete record, directory and name.
    Delete,
}

/// Why an event is refused in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `Start` of a running container; the Engine API answers 304.
    #[error("container is already running")]
    AlreadyRunning,
    /// `Start` while another start is under way.
    #[error("container is being started")]
    Starting,
    /// `Start` of a paused container.
    #[error("container is paused")]
    StartPaused,
    /// `Paused` of a paused container.
    #[error("container is already paused")]
    AlreadyPaused,
    /// `Unpaused` of one that is not.
    #[error("container is not paused")]
    NotPaused,
    /// `Paused` of a container that does not run.
    #[error("container is not running")]
    NotRunning,
    /// `Remove` without force of a paused container.
    #[error("container is paused")]
    Paused,
    /// `Remove` without force of a running container.
    #[error("container is running")]
    Running,
    /// `Remove` without force, or `Paused`, of a container that waits to be started again.
    #[error("container is restarting")]
    Restarting,
    /// Anything but `Removed` while the container is being removed, or after.
    #[error("container is marked for removal and cannot be started")]
    Removing,
    /// An outcome that the state does not wait for; a late message of an earlier run.
    #[error("event does not belong to this state")]
    Stale,
}

impl State {
    /// Decides what an event leads to; the state is unchanged where it is refused.
    pub fn on(&self, event: Event) -> Result<(State, Vec<Action>), Refusal> {
        match (self, event) {
            (State::Removing, Event::Removed) => Ok((State::Gone, vec![])),
            (State::Removing | State::Gone, _) => Err(Refusal::Removing),

            (State::Created, Event::Start) => Ok((State::starting(None, false), vec![Action::Launch])),
            (State::Exited(exit), Event::Start) => Ok((State::starting(Some(exit), false), vec![Action::Launch])),
            (State::Exited(exit), Event::Await) => Ok((State::Restarting(exit.clone()), vec![])),
            (State::Restarting(exit), Event::Restart) => Ok((State::starting(Some(exit), true), vec![Action::Launch])),
            (State::Restarting(exit), Event::GiveUp) => Ok((State::Exited(exit.clone()), vec![])),
            (State::Restarting(_), Event::Start) => Err(Refusal::AlreadyRunning),
            (State::Restarting(_), Event::Paused | Event::Remove { force: false }) => Err(Refusal::Restarting),
            (State::Restarting(_), Event::Remove { force: true }) => Ok((State::Removing, vec![Action::Delete])),
            (State::Starting { .. }, Event::Start) => Err(Refusal::Starting),
            (State::Running { paused: true, .. }, Event::Start) => Err(Refusal::StartPaused),
            (State::Running { .. }, Event::Start) => Err(Refusal::AlreadyRunning),

            (State::Starting { .. }, Event::Started { pid, started_at }) => {
                let paused = false;
                Ok((
                    State::Running {
                        pid,
                        started_at,
                        paused,
                    },
                    vec![],
                ))
            }
            (_, Event::Paused) => Ok((self.frozen(true)?, vec![])),
            (_, Event::Unpaused) => Ok((self.frozen(false)?, vec![])),
            (State::Starting { .. }, Event::StartFailed(exit) | Event::Exited(exit))
            | (State::Running { .. }, Event::Exited(exit)) => Ok((State::Exited(exit), vec![Action::ReleaseRun])),

            (State::Running { .. } | State::Starting { .. }, Event::Remove { force: true }) => {
                Ok((self.clone(), vec![Action::Kill]))
            }
            (State::Running { paused: true, .. }, Event::Remove { force: false }) => Err(Refusal::Paused),
            (State::Running { .. } | State::Starting { .. }, Event::Remove { force: false }) => Err(Refusal::Running),
            (State::Created | State::Exited(_), Event::Remove { .. }) => Ok((State::Removing, vec![Action::Delete])),

            (
                _,
                Event::Started { .. }
                | Event::StartFailed(_)
                | Event::Exited(_)
                | Event::Await
                | Event::Restart
                | Event::GiveUp
                | Event::Removed,
            ) => Err(Refusal::Stale),
        }
    }

    fn starting(before: Option<&Exit>, again: bool) -> State {
        let before = before.cloned();
        State::Starting { before, again }
    }

    /// The same container with its processes frozen, or going on.
    fn frozen(&self, freeze: bool) -> Result<State, Refusal> {
        match self {
            State::Running { paused: true, .. } if freeze => Err(Refusal::AlreadyPaused),
            State::Running {
                paused,
                pid,
                started_at,
            } if freeze != *paused => Ok(State::Running {
                pid: *pid,
                started_at: started_at.clone(),
                paused: freeze,
            }),
            _ if freeze => Err(Refusal::NotRunning),
            _ => Err(Refusal::NotPaused),
        }
    }

    /// Docker's word for it (`State.Status`).
    pub fn status(&self) -> &'static str {
        match self {
            State::Restarting(_) | State::Starting { again: true, .. } => "restarting",
            State::Created | State::Starting { before: None, .. } => "created",
            State::Exited(exit) | State::Starting { before: Some(exit), .. } if !exit.has_run() => "created",
            State::Starting { before: Some(_), .. } | State::Exited(_) => "exited",
            State::Running { paused: true, .. } => "paused",
            State::Running { .. } => "running",
            State::Removing | State::Gone => "removing",
        }
    }

    /// Pid of the first process while it runs.
    pub fn pid(&self) -> Option<i32> {
        match self {
            State::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// Whether its processes are frozen.
    pub fn is_paused(&self) -> bool {
        matches!(self, State::Running { paused: true, .. })
    }

    /// Whether it waits to be started again, or is.
    pub fn is_restarting(&self) -> bool {
        matches!(self, State::Restarting(_) | State::Starting { again: true, .. })
    }

    /// Whether it runs, or will again without anybody's doing.
    pub fn is_up(&self) -> bool {
        self.is_running() || self.is_restarting()
    }

    /// Whether its first process runs, or would if it were not paused.
    pub fn is_running(&self) -> bool {
        matches!(self, State::Running { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> Exit {
        Exit {
            code,
            oom_killed: false,
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: "2026-01-01T00:00:01Z".into(),
            error: None,
        }
    }

    fn running() -> State {
        State::Running {
            pid: 7,
            started_at: "2026-01-01T00:00:00Z".into(),
            paused: false,
        }
    }

    #[test]
    fn a_paused_container_is_started_or_removed_only_after_it_goes_on() {
        let (paused, _) = running().on(Event::Paused).unwrap();
        assert_eq!(paused.status(), "paused");
        assert!(paused.is_running() && paused.is_paused());
        assert_eq!(paused.on(Event::Paused), Err(Refusal::AlreadyPaused));
        assert_eq!(paused.on(Event::Start), Err(Refusal::StartPaused));
        assert_eq!(paused.on(Event::Remove { force: false }), Err(Refusal::Paused));
        assert_eq!(paused.on(Event::Unpaused).unwrap().0, running());
        assert_eq!(running().on(Event::Unpaused), Err(Refusal::NotPaused));
        assert_eq!(State::Created.on(Event::Paused), Err(Refusal::NotRunning));
        assert_eq!(State::Removing.on(Event::Paused), Err(Refusal::Removing));
        assert!(matches!(paused.on(Event::Exited(exit(9))), Ok((State::Exited(_), _))));
    }

    #[test]
    fn a_container_is_started_runs_and_exits() {
        let (state, actions) = State::Created.on(Event::Start).unwrap();
        assert_eq!(actions, [Action::Launch]);
        let (state, _) = state
            .on(Event::Started {
                pid: 7,
                started_at: "2026-01-01T00:00:00Z".into(),
            })
            .unwrap();
        assert_eq!(state, running());
        let (state, actions) = state.on(Event::Exited(exit(3))).unwrap();
        assert_eq!(state, State::Exited(exit(3)));
        assert_eq!(actions, [Action::ReleaseRun]);
    }

    #[test]
    fn a_second_start_has_no_effect() {
        assert_eq!(running().on(Event::Start), Err(Refusal::AlreadyRunning));
        assert_eq!(State::starting(None, false).on(Event::Start), Err(Refusal::Starting));
    }

    #[test]
    fn a_running_container_is_removed_only_by_force_and_killed_first() {
        assert_eq!(running().on(Event::Remove { force: false }), Err(Refusal::Running));
        let (state, actions) = running().on(Event::Remove { force: true }).unwrap();
        assert_eq!((state, actions), (running(), vec![Action::Kill]));
    }

    #[test]
    fn nothing_brings_a_removed_container_back() {
        let (state, _) = State::Created.on(Event::Remove { force: false }).unwrap();
        for event in [Event::Start, Event::Exited(exit(0)), Event::Remove { force: true }] {
            assert_eq!(state.on(event), Err(Refusal::Removing));
        }
        assert_eq!(state.on(Event::Removed).unwrap().0, State::Gone);
    }

    #[test]
    fn a_container_that_ended_waits_to_be_started_again() {
        let (waiting, _) = State::Exited(exit(3)).on(Event::Await).unwrap();
        assert_eq!((waiting.status(), waiting.is_running()), ("restarting", false));
        assert_eq!(waiting.on(Event::Start), Err(Refusal::AlreadyRunning));
        assert_eq!(waiting.on(Event::Paused), Err(Refusal::Restarting));
        assert_eq!(waiting.on(Event::Unpaused), Err(Refusal::NotPaused));
        assert_eq!(waiting.on(Event::Remove { force: false }), Err(Refusal::Restarting));
        assert_eq!(waiting.on(Event::GiveUp).unwrap().0, State::Exited(exit(3)));
        assert_eq!(waiting.on(Event::Remove { force: true }).unwrap().0, State::Removing);
        let (starting, actions) = waiting.on(Event::Restart).unwrap();
        assert_eq!((starting.status(), actions), ("restarting", vec![Action::Launch]));
        assert_eq!(State::Exited(exit(3)).on(Event::Restart), Err(Refusal::Stale));
        assert_eq!(State::Exited(exit(3)).on(Event::GiveUp), Err(Refusal::Stale));
        assert_eq!(running().on(Event::Await), Err(Refusal::Stale));
    }

    #[test]
    fn late_messages_of_an_earlier_run_are_told_apart() {
        assert_eq!(State::Exited(exit(0)).on(Event::Exited(exit(1))), Err(Refusal::Stale));
        assert_eq!(
            State::Created.on(Event::Started {
                pid: 1,
                started_at: String::new()
            }),
            Err(Refusal::Stale)
        );
    }
}
