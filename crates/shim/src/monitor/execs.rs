//! Later processes of the container.

use std::os::fd::{AsFd, OwnedFd};

use conex_launch::{Reason, StartError};
use conex_protocol::message::{Attachment, Failure, FailureReason, Request};
use conex_protocol::monitor::Input;
use conex_spec::plan::ExecPlan;
use conex_sys::process::Status;
use conex_sys::{failpoint, memfd, process};
use rustix::process::Signal;

use crate::monitor::state::{FIRST, Monitor, ProcessKey};

/// Plans of the daemon have no filter that asks; one that had would be waited for in vain.
pub(crate) fn nobody_listens() -> StartError {
    StartError {
        reason: Reason::Other,
        errno: 0,
        message: "nobody listens to the seccomp filter".to_owned(),
    }
}

impl Monitor {
    /// Starts a process as the daemon asked for, and tells how it went.
    pub(crate) fn exec(&mut self, request: Request, exec: String, attachment: Option<Attachment>, fds: Vec<OwnedFd>) {
        match self.try_exec(&exec, attachment, fds) {
            Ok(pid) => self.step(Input::ExecStarted { request, exec, pid }),
            Err(failure) => self.step(Input::ExecFailed { request, exec, failure }),
        }
    }

    fn try_exec(&mut self, exec: &str, attachment: Option<Attachment>, fds: Vec<OwnedFd>) -> Result<i32, Failure> {
        let mut fds = fds.into_iter();
        let plan = fds.next().ok_or_else(|| Failure::other("an exec needs a plan"))?;
        let client = match &attachment {
            Some(_) => Some(
                fds.next()
                    .ok_or_else(|| Failure::other("an attached exec needs a client"))?,
            ),
            None => None,
        };
        let bytes = memfd::read(plan.as_fd()).map_err(|error| Failure::other(&error.to_string()))?;
        let plan: ExecPlan = serde_json::from_slice(&bytes).map_err(|error| Failure::other(&error.to_string()))?;
        let first = self
            .processes
            .get(&FIRST)
            .ok_or_else(|| Failure::other("the container has ended"))?;
        let fds: Vec<OwnedFd> = fds.collect();
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.catch_up().map_err(|error| Failure::other(&error.to_string()))?;
        }
        let execed = conex_launch::exec(
            &plan,
            first.pid,
            first.pidfd.as_fd(),
            self.cgroup.as_ref(),
            &fds,
            &mut |_, _| Err(nobody_listens()),
        )
        .map_err(|error| failure(&error))?;
        failpoint::hit("monitor.exec-after-fork");
        let key = self.number();
        self.adopt(key, Some(exec.to_owned()), (execed.pid, execed.pidfd), execed.stdio)
            .map_err(|error| Failure::other(&error.to_string()))?;
        match (attachment, client) {
            (Some(attachment), Some(client)) => {
                // A client that is not attached to its input leaves the process without any.
                let wants_input = attachment.streams.stdin;
                self.attach(key, attachment, client)
                    .map_err(|error| Failure::other(&error.to_string()))?;
                if !wants_input {
                    self.end_input(key);
                }
            }
            _ => self.end_input(key),
        }
        Ok(execed.pid)
    }

    /// Kills an exec and what it has started in its process group, where it runs: each is the leader of its session.
    pub(crate) fn end_exec(&self, exec: &str) {
        let mut processes = self.processes.values();
        let Some(process) = processes.find(|process| process.exec.as_deref() == Some(exec)) else {
            return;
        };
        // It is reaped by nobody else, so its number is still its own. One that ends by itself meanwhile is as good.
        let _ = process::kill_group(process.pid, Signal::KILL);
    }

    /// An exec has ended.
    pub(crate) fn on_exec_exit(&mut self, key: ProcessKey, status: Status) {
        self.drain(key);
        let Some(process) = self.processes.remove(&key) else {
            return;
        };
        let exec = process.exec.unwrap_or_default();
        self.step(Input::ExecEnded {
            exec,
            code: status.code(),
        });
        self.finish_clients(key);
    }
}

/// A failure of the launcher in the protocol's terms.
pub(crate) fn failure(error: &StartError) -> Failure {
    let reason = match error.reason {
        Reason::NotFound => FailureReason::NotFound,
        Reason::NotExecutable => FailureReason::NotExecutable,
        Reason::NoSuchUser => FailureReason::NoSuchUser,
        Reason::WorkingDirectory => FailureReason::WorkingDirectory,
        Reason::Limit => FailureReason::Limit,
        Reason::Other => FailureReason::Other,
    };
    Failure {
        reason,
        message: error.message.clone(),
    }
}
