//! Health checks: each container that has one is asked again and again for as long as it runs, and the results are published
//! by its owner.
//!
//! ```text
//!   watch (a task of each run)            Task (the owner)                    monitor
//!     wait the interval
//!     Order::Probe ---------------------> Exec -------------------------------> starts the process
//!     output  <--- a socket pair ------------------------------------------------- what it writes
//!     exit    <-------------------------- ExecEnded <--------------------------  its end
//!     Order::Probed --------------------> Health::take: view, health.json, event; OnFailure
//! ```
//!
//! A check is an exec whose id says what it is: events do not tell of it, `inspect` does not list it, and a later daemon that
//! finds one running ends it. One that exceeds its time is killed with all that it has started in its process group.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use conex_container::ExecConfig;
use conex_container::health::{Check, Health, OUTPUT, OnFailure, Outcome, Status};
use conex_container::state::State;
use conex_protocol::message::{Attachment, Framing, Streams};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::containers::launch::Slots;
use crate::containers::task::{After, ExecOrder, Order, View};
use crate::containers::{Container, create, lifecycle, plan, recovery};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::StopRequest;

/// What the id of an exec begins with that is a check.
const PREFIX: &str = "health-";

/// Whether an exec is a check.
pub(crate) fn is_probe(exec: &str) -> bool {
    exec.starts_with(PREFIX)
}

/// What was known of a container's health when the last daemon ended.
pub(crate) fn load(engine: &Inner, container: &Container) -> Option<Health> {
    let loaded = recovery::load(&engine.files.health_file(&container.id));
    loaded.unwrap_or_else(|error| {
        tracing::warn!(container = %container.id, %error, "read what was known of the container's health");
        None
    })
}

/// Notes it, for the daemon that comes next.
pub(crate) fn note(engine: &Inner, container: &Container, health: &Health) {
    if let Err(error) = recovery::publish(&engine.files.health_file(&container.id), health) {
        tracing::warn!(container = %container.id, %error, "note the container's health");
    }
}

/// Looks after the health of a run, which is so old already, until it ends.
pub(crate) fn watch(engine: &Arc<Inner>, container: &Arc<Container>, age: Duration) {
    if let Some(check) = Check::of(&container.config) {
        let mut view = container.watch();
        let during = view.borrow_and_update().exits;
        let watcher = Watcher {
            engine: engine.clone(),
            id: container.id.clone(),
            check,
            born: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            during,
        };
        tokio::spawn(watcher.serve(view));
    }
}

struct Watcher {
    engine: Arc<Inner>,
    id: String,
    check: Check,
    born: Instant,
    /// How many runs had ended when this one began.
    during: u64,
}

impl Watcher {
    async fn serve(self, mut view: watch::Receiver<View>) {
        while self.is_on(&view.borrow()) {
            let status = view
                .borrow()
                .health
                .as_ref()
                .map_or(Status::Starting, |health| health.status);
            let due = Instant::now() + self.check.wait(self.born.elapsed(), status);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = until(&mut view, |view| !self.is_on(view)) => return,
            }
            // What is frozen says nothing.
            until(&mut view, |view| !self.is_on(view) || !view.state.is_paused()).await;
            let Ok(exec) = create::random_id().map(|id| format!("{PREFIX}{}", &id[PREFIX.len()..])) else {
                continue;
            };
            let Ok(container) = self.engine.containers.find(&self.id) else {
                return;
            };
            let started = self.born.elapsed();
            tokio::select! {
                outcome = self.probe(&container, &exec) => {
                    let counts = started >= self.check.start_period;
                    let probed = container.order(|reply| Order::Probed { outcome, counts, during: self.during, reply });
                    // The wait that comes now depends on what it says.
                    if probed.await.is_err() {
                        return;
                    }
                }
                () = until(&mut view, |view| !self.is_on(view) || view.state.is_paused()) => {
                    container.tell(Order::EndExec { exec });
                }
            }
        }
    }

    fn is_on(&self, view: &View) -> bool {
        view.exits == self.during && view.state.is_running()
    }

    /// Carries the check out.
    async fn probe(&self, container: &Arc<Container>, exec: &str) -> Outcome {
        let start = jiff::Timestamp::now().to_string();
        let mut said = Said::default();
        let run = tokio::time::timeout(self.check.timeout, self.run(container, exec, &mut said)).await;
        let (exit_code, output) = match run {
            Ok(Ok(code)) => (code, said.text()),
            Ok(Err(error)) => (-1, error.message().to_owned()),
            Err(_) => {
                container.tell(Order::EndExec { exec: exec.to_owned() });
                let words = format!("Health check exceeded timeout ({})", shown(self.check.timeout));
                let said = said.text();
                let words = if said.is_empty() {
                    words
                } else {
                    format!("{words}: {said}")
                };
                (-1, words)
            }
        };
        Outcome {
            start,
            end: jiff::Timestamp::now().to_string(),
            exit_code,
            output,
        }
    }

    /// Runs its process to the end of both; the exit code.
    async fn run(&self, container: &Arc<Container>, exec: &str, said: &mut Said) -> Result<i32> {
        let failed = |error: io::Error| Error::new(ErrorKind::System, "attach to a health check").caused_by(error);
        let config = ExecConfig {
            cmd: self.check.command.clone(),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecConfig::default()
        };
        let mut slots = Slots::default();
        let plan = plan::later_plan(&self.engine, container, &config, (0, 0), &mut slots)?;
        let (plan, fds) = plan::seal_exec(&plan, slots)?;
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut ours = UnixStream::from_std(ours).map_err(failed)?;
        let attachment = Attachment {
            streams: Streams {
                stdin: false,
                stdout: true,
                stderr: true,
            },
            framing: Framing::Raw,
            preread: String::new(),
            detach_keys: Vec::new(),
        };
        let exec = ExecOrder {
            exec: exec.to_owned(),
            told_as: None,
            plan,
            client: Some((attachment, theirs.into())),
            fds,
        };
        let (ended, code) = oneshot::channel();
        container.order(|reply| Order::Probe { exec, ended, reply }).await?;
        said.read(&mut ours).await.map_err(failed)?;
        code.await
            .map_err(|_| Error::new(ErrorKind::System, "the container has ended"))
    }
}

/// What a check has written, as much of it as is kept.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    more: bool,
}

impl Said {
    /// Reads to the end. Cancel-safe: what was read is there.
    async fn read(&mut self, socket: &mut UnixStream) -> io::Result<()> {
        let mut chunk = [0; OUTPUT];
        loop {
            let count = socket.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            let kept = count.min(OUTPUT - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..kept]);
            self.more |= kept < count;
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.more {
            format!("{text}...")
        } else {
            text.into_owned()
        }
    }
}

/// A duration as Go words it, to milliseconds: `1m30s`, `1.5s`, `20ms`.
fn shown(duration: Duration) -> String {
    let (seconds, milliseconds) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 {
        return format!("{milliseconds}ms");
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut words = String::new();
    if hours > 0 {
        words.push_str(&format!("{hours}h"));
    }
    if seconds >= 60 {
        words.push_str(&format!("{minutes}m"));
    }
    let fraction = format!("{}.{milliseconds:03}", seconds % 60);
    words.push_str(fraction.trim_end_matches('0').trim_end_matches('.'));
    words.push('s');
    words
}

/// Waits until the view is so; also where its owner is gone.
async fn until(view: &mut watch::Receiver<View>, is_so: impl Fn(&View) -> bool) {
    let _ = view.wait_for(|view| is_so(view)).await;
}

/// Does what is wanted with a container that has become unhealthy, after a while, if it still is.
pub(crate) fn act(engine: &Arc<Inner>, container: &Arc<Container>, action: OnFailure, wait: Duration) {
    let (engine, id, mut view) = (Engine::of(engine), container.id.clone(), container.watch());
    let during = view.borrow_and_update().exits;
    tokio::spawn(async move {
        let is_unhealthy = |view: &View| {
            let status = view.health.as_ref().map(|health| health.status);
            view.exits == during && view.state.is_running() && status == Some(Status::Unhealthy)
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = until(&mut view, |view| !is_unhealthy(view)) => {}
        }
        if !is_unhealthy(&view.borrow()) {
            return;
        }
        let done = match action {
            OnFailure::Nothing => Ok(()),
            OnFailure::Restart => engine.restart(&id, StopRequest::default()).await,
            OnFailure::Stop => engine.stop(&id, StopRequest::default()).await,
            OnFailure::Kill => engine.signal(&id, lifecycle::KILL, After::Policy).await,
        };
        if let Err(error) = done {
            tracing::warn!(container = %id, %error, ?action, "act upon an unhealthy container");
        }
    });
}

/// The time since a run began; nothing where the clock was set back since.
pub(crate) fn age(state: &State) -> Duration {
    let State::Running { started_at, .. } = state else {
        return Duration::ZERO;
    };
    let started: jiff::Timestamp = started_at.parse().unwrap_or_else(|_| jiff::Timestamp::now());
    let age = jiff::Timestamp::now().duration_since(started);
    age.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_go_words_them() {
        for (milliseconds, words) in [
            (20, "20ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (90_000, "1m30s"),
            (60_000, "1m0s"),
            (3_661_020, "1h1m1.02s"),
        ] {
            assert_eq!(shown(Duration::from_millis(milliseconds)), words);
        }
    }
}
