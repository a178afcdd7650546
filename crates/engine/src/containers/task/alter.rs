//! Orders that change a container without starting or ending it.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::signals;
use conex_container::state::{Event, Refusal, State};
use conex_protocol::message::ToMonitor;

use super::{After, Pending, Reply, Task, answer, refused, restarting};
use crate::containers::{Container, pause, rename, update};
use crate::error::{Error, ErrorKind, Result};
use crate::networks::rates;

/// SIGKILL (signal(7)).
const KILL: i32 = 9;

impl Task {
    pub(super) async fn rename(&mut self, name: &str) -> Result<()> {
        self.container = rename::rename(&self.engine, &self.container, name).await?;
        Ok(())
    }

    pub(super) async fn update(&mut self, asked: &api::HostConfig) -> Result<()> {
        let updated = update::updated(&self.container, asked)?;
        self.engine.networks.check_rates(&updated.config)?;
        let mut changed = Ok(());
        if self.state().is_running() {
            self.write_limits(&self.container, &updated).await?;
            changed = self.change_rates(&updated).await;
        }
        let recorded = match changed {
            Ok(()) => self.record(updated.clone()).await,
            refused => refused,
        };
        if let Err(error) = recorded {
            self.take_back_limits(&updated).await;
            return Err(error);
        }
        self.engine.events.container(&self.container, "update", &[]);
        Ok(())
    }

    /// Has a running container have the limits that are recorded.
    async fn take_back_limits(&mut self, tried: &Arc<Container>) {
        if !self.state().is_running() {
            return;
        }
        let recorded = self.container.clone();
        let written = self.write_limits(tried, &recorded).await;
        let changed = self.change_rates(&recorded).await;
        for error in written.err().into_iter().chain(changed.err()) {
            tracing::warn!(%error, "take back limits that could not be recorded");
        }
    }

    async fn change_rates(&mut self, container: &Arc<Container>) -> Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let (engine, container, before) = (self.engine.clone(), container.clone(), run.endpoints.clone());
        let changed = tokio::task::spawn_blocking(move || rates::change(&engine, &container, before)).await;
        let endpoints =
            changed.map_err(|error| Error::new(ErrorKind::System, "change the rates").caused_by(error))??;
        run.endpoints.clone_from(&endpoints);
        self.view.send_modify(|view| view.endpoints = endpoints);
        Ok(())
    }

    async fn write_limits(&self, before: &Arc<Container>, after: &Arc<Container>) -> Result<()> {
        let (engine, before, after) = (self.engine.clone(), before.clone(), after.clone());
        let written = tokio::task::spawn_blocking(move || update::apply(&engine, &before.config, &after)).await;
        written.map_err(|error| Error::new(ErrorKind::System, "write the limits").caused_by(error))?
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        let (paused, _) = self.state().on(Event::Paused).map_err(|refusal| match refusal {
            Refusal::Restarting => restarting(&self.container.id),
            other => refused(other, &self.container),
        })?;
        pause::freeze(&self.engine, &self.container).await?;
        self.publish(paused);
        self.engine.events.container(&self.container, "pause", &[]);
        Ok(())
    }

    pub(super) async fn unpause(&mut self) -> Result<()> {
        let (unpaused, _) = self
            .state()
            .on(Event::Unpaused)
            .map_err(|refusal| refused(refusal, &self.container))?;
        pause::thaw(&self.engine, &self.container).await?;
        // Whoever had frozen them.
        pause::unmark(&self.engine, &self.container)?;
        self.publish(unpaused);
        self.engine.events.container(&self.container, "unpause", &[]);
        Ok(())
    }

    /// Freezes the processes for a commit; `false` where none runs or a client has frozen them.
    pub(super) async fn hold(&mut self) -> Result<bool> {
        if self.state().on(Event::Paused).is_err() {
            return Ok(false);
        }
        // A daemon that comes after one that was killed lets them go on.
        pause::mark(&self.engine, &self.container)?;
        if let Err(error) = self.pause().await {
            pause::unmark(&self.engine, &self.container)?;
            return Err(error);
        }
        conex_sys::failpoint::hit("commit.held");
        Ok(true)
    }

    /// Lets go on what a commit has frozen, unless it was let go or has ended meanwhile.
    pub(super) async fn let_go(&mut self) -> Result<()> {
        if !pause::is_marked(&self.engine, &self.container) {
            return Ok(());
        }
        if self.state().is_paused() {
            return self.unpause().await;
        }
        pause::unmark(&self.engine, &self.container)
    }

    /// Sends a signal. One that is meant to end a paused container would reach nobody, so it lets its processes go on; one
    /// that finds the container waiting to be started again keeps it from that.
    pub(super) async fn signal(&mut self, signal: i32, after: After, reply: Reply<()>) {
        let is_waiting = matches!(self.state(), State::Restarting(_));
        match after {
            After::Policy if is_waiting => self.stay(After::Stays),
            After::Policy => {}
            after => self.stay(after),
        }
        if is_waiting {
            return answer(reply, Ok(()));
        }
        self.ask(Pending::Signal { signal, reply }, &[], |request| ToMonitor::Signal {
            request,
            signal,
        })
        .await;
        let stop_signal = self.container.config.stop_signal.as_deref();
        let ends =
            signal == KILL || stop_signal.is_none_or(|stop| signals::parse(stop).is_ok_and(|stop| stop == signal));
        if ends
            && self.state().is_paused()
            && let Err(error) = self.unpause().await
        {
            tracing::warn!(container = %self.container.id, %error, "unpause a container that is signalled");
        }
    }
}
