//! What the owner of a container has to do with its health: it starts checks, takes their results, and acts upon them.

use std::sync::Arc;
use std::time::Duration;

use conex_container::health::{Check, OnFailure, Outcome, Status};
use conex_protocol::message::ToMonitor;
use tokio::sync::oneshot;

use super::{ExecOrder, Reply, Task};
use crate::containers::health;

impl Task {
    /// A run has begun: its health is to be found out.
    pub(super) fn begin_health(&self) {
        if Check::of(&self.container.config).is_none() {
            return;
        }
        self.view
            .send_modify(|view| Arc::make_mut(view.health.get_or_insert_default()).begin());
        self.note_health();
        health::watch(&self.engine, &self.container, Duration::ZERO);
    }

    /// A run was found: its health goes on to be found out, and what was to be done upon it is done.
    pub(super) fn resume_health(&mut self) {
        if self.run.is_none() {
            return;
        }
        health::watch(&self.engine, &self.container, health::age(&self.state()));
        let status = self.view.borrow().health.as_ref().map(|health| health.status);
        if status == Some(Status::Unhealthy) {
            self.heal();
        }
    }

    /// The run has ended: what does not run is not healthy.
    pub(super) fn end_health(&self) {
        self.view.send_if_modified(|view| match &mut view.health {
            Some(health) if health.status != Status::Unhealthy => {
                Arc::make_mut(health).status = Status::Unhealthy;
                true
            }
            _ => false,
        });
        self.note_health();
    }

    fn note_health(&self) {
        if let Some(health) = self.view.borrow().health.clone() {
            health::note(&self.engine, &self.container, &health);
        }
    }

    /// Starts a check; its exit code goes to `ended`.
    pub(super) async fn probe(&mut self, exec: ExecOrder, ended: oneshot::Sender<i32>, reply: Reply<i32>) {
        if let Some(run) = &mut self.run {
            run.probes.insert(exec.exec.clone(), ended);
        }
        self.exec(exec, reply).await;
    }

    /// A check has ended, or could not be started: the monitor need not know it any more.
    pub(super) async fn probe_ended(&mut self, exec: String, code: i32) {
        let Some(run) = &mut self.run else { return };
        if let Some(ended) = run.probes.remove(&exec) {
            // Whoever waited may have given it up.
            let _ = ended.send(code);
        }
        self.send(&ToMonitor::ForgetExec { exec }).await;
    }

    /// Takes the result of a check, of the run that it was of.
    pub(super) fn probed(&mut self, outcome: Outcome, counts: bool, during: u64) {
        let Some(check) = Check::of(&self.container.config) else {
            return;
        };
        let is_of_now = {
            let view = self.view.borrow();
            view.exits == during && view.state.is_running() && !view.state.is_paused()
        };
        if !is_of_now {
            return;
        }
        let (mut change, mut is_news) = (None, false);
        self.view.send_modify(|view| {
            let health = Arc::make_mut(view.health.get_or_insert_default());
            let streak = health.failing_streak;
            change = health.take(outcome, counts, &check);
            is_news = change.is_some() || health.failing_streak != streak;
        });
        conex_sys::failpoint::hit("health.before-note");
        // One success after the other is not worth a write to the disk.
        if is_news {
            self.note_health();
        }
        conex_sys::failpoint::hit("health.after-note");
        let Some(status) = change else { return };
        let action = format!("health_status: {}", status.as_str());
        self.engine.events.container(&self.container, &action, &[]);
        match status {
            Status::Healthy => self.healing.is_well(),
            Status::Unhealthy => {
                conex_sys::failpoint::hit("health.unhealthy");
                self.heal();
            }
            Status::Starting => {}
        }
    }

    fn heal(&mut self) {
        let action = OnFailure::of(&self.container.config, self.engine.settings.health_on_failure);
        let wait = match action {
            OnFailure::Nothing => return,
            OnFailure::Restart => self.healing.wait(),
            OnFailure::Stop | OnFailure::Kill => Duration::ZERO,
        };
        health::act(&self.engine, &self.container, action, wait);
    }

    /// Answers a check's start as that of any exec.
    pub(super) fn probe_failed(&mut self, exec: &str) {
        if let Some(run) = &mut self.run {
            run.probes.remove(exec);
        }
    }
}
