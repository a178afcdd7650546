//! Containers that are started again by their policy.

use std::time::Duration;

use conex_container::restart::{Backoff, Ended, Policy};
use conex_container::state::{Event, Exit};
use tokio::time::Instant;

use super::{Cause, Task, seconds};
use crate::containers::recovery;

/// What comes after the end that a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// What the policy says; the signal may be for anything.
    Policy,
    /// It stays, also when another daemon comes.
    Stays,
    /// Whoever asked for the end goes on with the container.
    Asker,
    /// Whoever asked for the end starts it again: it is not removed in between.
    Starts,
}

/// What an owner knows of its container's restarts.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// What comes after the end of this run, where that was asked for.
    pub(super) asked: Option<After>,
    /// When it is started again, where it waits for that.
    pub(super) due: Option<Instant>,
    /// Whether this run was begun by the policy.
    pub(super) is_automatic: bool,
    backoff: Backoff,
}

impl Again {
    /// Of a container that was found, whose end was asked for or not.
    pub(crate) fn found(stays: bool) -> Self {
        Self {
            asked: stays.then_some(After::Stays),
            ..Self::default()
        }
    }

    /// Of a run that a client begins.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Until a moment that may never come. Cancel-safe.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// Notes that the end of the run is asked for; one that waits to be started again ends now.
    pub(super) fn stay(&mut self, after: After) {
        if after == After::Stays
            && let Err(error) = recovery::mark_stopped(&self.engine, &self.container)
        {
            tracing::warn!(container = %self.container.id, %error, "note that the container is stopped");
        }
        self.again.asked = Some(after);
        self.again.due = None;
        if let Ok((exited, _)) = self.state().on(Event::GiveUp) {
            self.publish(exited);
        }
    }

    /// How long a container that ended waits to be started again; `None` where it stays as it is.
    pub(super) fn wait_of(&mut self, exit: &Exit, died: bool) -> Option<Duration> {
        // A client whose start failed is told so, and asks again where it wants to.
        if !died && !self.again.is_automatic {
            return None;
        }
        let ended = Ended {
            code: exit.code,
            restarts: self.view.borrow().restarts,
            stopped: self.again.asked.is_some(),
        };
        let run = if died { seconds(exit) } else { 0 };
        Policy::of(&self.container.config.host.restart_policy)
            .restarts(&ended)
            .then(|| self.again.backoff.after(Duration::from_secs(run.unsigned_abs())))
    }

    /// Starts a container whose wait is over. What fails is tried again as the policy says.
    pub(super) async fn start_again(&mut self) {
        self.again.due = None;
        if let Err(error) = self.start(Cause::Policy).await {
            tracing::warn!(container = %self.container.id, %error, "start a container again");
        }
    }
}
