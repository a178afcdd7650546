//! Orders that change a container without starting or ending it.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::signals;
use conex_container::state::{Event, Refusal, State};
use conex_protocol::message::ToMonitor;

use super::{After, Pending, Reply, Task, answer, refused, restarting};
use crate::containers::{Container, pause, rename, update};
use crate::error::{Error, ErrorKind, Result};

/// SIGKILL (signal(7)).
const KILL: i32 = 9;

impl Task {
    pub(super) async fn rename(&mut self, name: &str) -> Result<()> {
        self.container = rename::rename(&self.engine, &self.container, name).await?;
        Ok(())
    }

    pub(super) async fn update(&mut self, asked: &api::HostConfig) -> Result<()> {
        let updated = update::updated(&self.container, asked)?;
        if self.state().is_running() {
            self.write_limits(&self.container, &updated).await?;
        }
        if let Err(error) = self.record(updated.clone()).await {
            if self.state().is_running()
                && let Err(error) = self.write_limits(&updated, &self.container).await
            {
                tracing::warn!(%error, "take back limits that could not be recorded");
            }
            return Err(error);
        }
        self.engine.events.container(&self.container, "update", &[]);
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
