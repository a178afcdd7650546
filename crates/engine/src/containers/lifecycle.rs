//! Start, stop, kill, restart, remove, wait, resize.

use std::time::Duration;

use conex_api_types as api;
use conex_container::signals;
use conex_container::state::State;
use tokio::sync::watch;

use crate::containers::removal::Unnamed;
use crate::containers::task::{After, Order, View};
use crate::containers::{Container, deaf};
use crate::engine::{Engine, Waiting};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{RemoveRequest, StopRequest, WaitCondition};

/// Time between the stop signal and SIGKILL when neither client nor container names one; the Engine API documents ten seconds.
const STOP_GRACE: i64 = 10;

/// How long a start waits for clients that are on their way.
const ARRIVAL: Duration = Duration::from_secs(2);

impl Engine {
    /// Starts a container; `NotModified` where it runs.
    pub async fn start(&self, id: &str, _detach_keys: Option<String>) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        // None of those who were told that they may attach misses the first byte.
        container.arriving.none(ARRIVAL).await;
        container.order(|reply| Order::Start { reply }).await
    }

    /// Stops a container by its stop signal, after the grace period by SIGKILL; `NotModified` where it does not run.
    pub async fn stop(&self, id: &str, request: StopRequest) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        if !container.view().state.is_up() {
            return Err(Error::new(ErrorKind::NotModified, "container is not running"));
        }
        let (engine, id) = (self.clone(), id.to_owned());
        // A client that goes away does not take back what it asked for: the grace period ends with SIGKILL all the same.
        carry_on("stop", async move {
            let stopped = engine.stop_running(&container, &request, After::Stays).await;
            stopped.map_err(|error| error.within(&format!("cannot stop container: {id}")))?;
            engine.inner.events.container(&container, "stop", &[]);
            Ok(())
        })
        .await
    }

    /// Stops a container where it runs, and starts it.
    pub async fn restart(&self, id: &str, request: StopRequest) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        let (engine, id) = (self.clone(), id.to_owned());
        carry_on("restart", async move {
            let within = |error: Error| error.within(&format!("Cannot restart container {id}"));
            if container.view().state.is_up() {
                let stopped = engine.stop_running(&container, &request, After::Starts).await;
                stopped.map_err(within)?;
                engine.inner.events.container(&container, "stop", &[]);
            }
            container.order(|reply| Order::Start { reply }).await.map_err(within)?;
            engine.inner.events.container(&container, "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Sends a signal, SIGKILL where none is named.
    pub async fn kill(&self, id: &str, signal: Option<String>) -> Result<()> {
        let container = self.inner.containers.find(id).map_err(|error| {
            let words = format!("cannot kill container: {id}: {}", error.message());
            Error::new(error.kind(), words)
        })?;
        let signal = signal.as_deref().filter(|text| !text.is_empty()).unwrap_or("KILL");
        let signal = parse_signal(signal).map_err(|error| {
            let words = match signal.parse::<i64>() {
                Ok(number) if number != 0 => format!("the linux daemon does not support signal {number}"),
                _ => error.to_string(),
            };
            Error::new(
                ErrorKind::InvalidParameter,
                format!("cannot kill container: {id}: {words}"),
            )
        })?;
        let mut view = container.watch();
        if !view.borrow().state.is_up() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("cannot kill container: {id}: container {} is not running", container.id),
            ));
        }
        let exits = view.borrow().exits;
        let is_waiting = view.borrow().state.is_restarting();
        let after = if ends(&container, signal) {
            After::Stays
        } else {
            After::Policy
        };
        container.order(|reply| Order::Signal { signal, after, reply }).await?;
        // One that waits for its next start has nothing to signal.
        if signal == KILL && !is_waiting {
            wait_for_exit(&mut view, exits).await;
        }
        Ok(())
    }

    /// Sends a signal to a container's first process.
    pub(crate) async fn signal(&self, id: &str, signal: i32, after: After) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        container.order(|reply| Order::Signal { signal, after, reply }).await
    }

    /// Removes a container.
    pub async fn remove(&self, id: &str, request: RemoveRequest) -> Result<()> {
        if request.link {
            let container = self.inner.containers.find(id)?;
            let words = if container.name == id.trim_start_matches('/') {
                "Conflict, cannot remove the default link name of the container".to_owned()
            } else {
                format!("Cannot get parent / for name {id}")
            };
            return Err(Error::new(ErrorKind::Conflict, words));
        }
        let unnamed = if request.volumes { Unnamed::Go } else { Unnamed::Stay };
        let container = self.inner.containers.find(id)?;
        let Some(_removal) = container.begin_removal() else {
            let words = format!("removal of container {id} is already in progress");
            return Err(Error::new(ErrorKind::Conflict, words));
        };
        container
            .order(|reply| Order::Remove {
                force: request.force,
                unnamed,
                reply,
            })
            .await
    }

    /// Waits for a container; the request itself fails only where there is none.
    pub async fn wait(&self, id: &str, condition: WaitCondition) -> Result<Waiting> {
        let container = self.inner.containers.find(id)?;
        let mut view = container.watch();
        let exits = view.borrow().exits;
        Ok(Box::pin(async move {
            match condition {
                WaitCondition::NotRunning => {
                    // One that is between two runs counts as running at first.
                    wait_until(&mut view, |view| {
                        let is_starting = matches!(view.state, State::Starting { .. });
                        view.exits > exits || !(view.state.is_up() || is_starting)
                    })
                    .await;
                }
                WaitCondition::NextExit => {
                    wait_until(&mut view, |view| {
                        view.exits > exits || matches!(view.state, State::Gone)
                    })
                    .await;
                }
                WaitCondition::Removed => wait_until(&mut view, |view| matches!(view.state, State::Gone)).await,
            }
            let last = view.borrow().last.clone();
            Ok(api::ContainerWaitResponse {
                status_code: last.map_or(0, |exit| i64::from(exit.code)),
                error: None,
            })
        }))
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        container
            .order(|reply| Order::Resize {
                exec: None,
                rows,
                columns,
                reply,
            })
            .await?;
        let size = [("height", rows.to_string()), ("width", columns.to_string())];
        self.inner.events.container(&container, "resize", &size);
        Ok(())
    }

    /// Ends a container by its stop signal, or by SIGKILL after the grace period. Where the signal has no effect and nobody asks for a
    /// time to wait, SIGKILL comes at once.
    pub(crate) async fn stop_running(&self, container: &Container, request: &StopRequest, after: After) -> Result<()> {
        let config = &container.config;
        let signal = parse_signal(
            request
                .signal
                .as_deref()
                .or(config.stop_signal.as_deref())
                .unwrap_or("TERM"),
        )?;
        let grace = request.timeout.or(config.stop_timeout).unwrap_or(STOP_GRACE);
        let mut view = container.watch();
        let exits = view.borrow().exits;
        // An exit between the look and the order is what was asked for.
        let _ = container.order(|reply| Order::Signal { signal, after, reply }).await;
        let Ok(grace) = u64::try_from(grace) else {
            wait_for_exit(&mut view, exits).await;
            return Ok(());
        };
        let pid = view.borrow().state.pid().filter(|_| request.timeout.is_none());
        let in_vain = async {
            match pid {
                Some(pid) => deaf::drops(pid, signal).await,
                None => std::future::pending().await,
            }
        };
        let has_ended = tokio::select! {
            () = wait_for_exit(&mut view, exits) => true,
            () = tokio::time::sleep(Duration::from_secs(grace)) => false,
            () = in_vain => false,
        };
        if !has_ended {
            let killed = container
                .order(|reply| Order::Signal {
                    signal: KILL,
                    after,
                    reply,
                })
                .await;
            if killed.is_ok() {
                wait_for_exit(&mut view, exits).await;
            }
        }
        Ok(())
    }
}

/// Carries an operation out to its end, whether or not its client waits for it.
async fn carry_on(operation: &'static str, work: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    let ended = tokio::spawn(work).await;
    ended.map_err(|error| Error::new(ErrorKind::System, format!("{operation} the container")).caused_by(error))?
}

/// SIGKILL (signal(7)).
pub(crate) const KILL: i32 = 9;

/// SIGTERM.
const TERM: i32 = 15;

/// Whether a signal means that a container is to end.
fn ends(container: &Container, signal: i32) -> bool {
    let stop_signal = container.config.stop_signal.as_deref();
    let stop_signal = stop_signal.and_then(|text| signals::parse(text).ok()).unwrap_or(TERM);
    signal == KILL || signal == stop_signal
}

fn parse_signal(text: &str) -> Result<i32> {
    signals::parse(text).map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))
}

async fn wait_for_exit(view: &mut watch::Receiver<View>, exits: u64) {
    wait_until(view, |view| view.exits > exits || !view.state.is_running()).await;
}

async fn wait_until(view: &mut watch::Receiver<View>, done: impl FnMut(&View) -> bool) {
    // The error means that the owner ended; what it published last is what there is to know.
    let _ = view.wait_for(done).await;
}
