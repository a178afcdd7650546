//! Processes started in running containers: made by `exec_create`, started once, kept for inspection.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_api_types as api;
use conex_container::ExecConfig;
use conex_protocol::message::{Attachment, ExecState, Framing, Streams};

use crate::containers::attach::{self, PendingExec};
use crate::containers::launch::Slots;
use crate::containers::task::{ExecOrder, Order, restarting};
use crate::containers::{Container, plan};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{ClientConnection, ExecStart};

/// How long an exec that ended can still be inspected.
const KEPT: Duration = Duration::from_secs(300);

/// How long a monitor may take to tell whether an exec still runs.
const SYNC: Duration = Duration::from_secs(1);

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Starting,
    Running {
        pid: i32,
    },
    /// The pid is 0 where it never ran.
    Exited {
        code: i32,
        pid: i32,
    },
}

#[derive(Debug)]
struct Exec {
    container: Arc<Container>,
    /// `None` for one that an earlier daemon started.
    config: Option<Arc<ExecConfig>>,
    life: Life,
}

/// All execs by their ids.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    all: Mutex<HashMap<String, Exec>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an exec runs.
    pub(crate) fn started(&self, id: &str, pid: i32) {
        if let Some(exec) = self.lock().get_mut(id) {
            exec.life = Life::Running { pid };
        }
    }

    /// Notes that an exec ended, and forgets it after a while.
    pub(crate) fn exited(&self, id: &str, code: i32) {
        if let Some(exec) = self.lock().get_mut(id) {
            let pid = match exec.life {
                Life::Running { pid } | Life::Exited { pid, .. } => pid,
                Life::Created | Life::Starting => 0,
            };
            exec.life = Life::Exited { code, pid };
        }
    }

    /// Notes what a monitor of an earlier daemon reports.
    pub(crate) fn adopt(&self, container: &Arc<Container>, states: impl IntoIterator<Item = ExecState>) {
        let mut all = self.lock();
        for state in states {
            let life = match state.code {
                Some(code) => Life::Exited { code, pid: state.pid },
                None => Life::Running { pid: state.pid },
            };
            all.insert(
                state.exec,
                Exec {
                    container: container.clone(),
                    config: None,
                    life,
                },
            );
        }
    }

    /// Ends what ran in a container: nothing outlives its first process. What was never started can be no more.
    pub(crate) fn container_exited(&self, container: &str) {
        let mut all = self.lock();
        all.retain(|_, exec| exec.container.id != container || exec.life != Life::Created);
        for exec in all.values_mut().filter(|exec| exec.container.id == container) {
            if let Life::Running { pid } = exec.life {
                exec.life = Life::Exited { code: KILLED, pid };
            } else if exec.life == Life::Starting {
                exec.life = Life::Exited { code: KILLED, pid: 0 };
            }
        }
    }

    /// Forgets all execs of a container that is gone.
    pub(crate) fn forget_container(&self, container: &str) {
        self.lock().retain(|_, exec| exec.container.id != container);
    }

    /// Ids of a container's execs that have not ended, as `inspect` lists them.
    pub(crate) fn of(&self, container: &str) -> Vec<String> {
        let all = self.lock();
        let live = all
            .iter()
            .filter(|(_, exec)| exec.container.id == container && !matches!(exec.life, Life::Exited { .. }));
        live.map(|(id, _)| id.clone()).collect()
    }

    fn find(&self, id: &str) -> Result<(Arc<Container>, Option<Arc<ExecConfig>>, Life)> {
        let all = self.lock();
        let exec = all.get(id).ok_or_else(|| no_such_exec(id))?;
        Ok((exec.container.clone(), exec.config.clone(), exec.life))
    }

    /// Takes an exec that was never started for its start.
    fn begin(&self, id: &str) -> Result<(Arc<Container>, Arc<ExecConfig>)> {
        let mut all = self.lock();
        let exec = all.get_mut(id).ok_or_else(|| no_such_exec(id))?;
        match (exec.life, &exec.config) {
            (Life::Created, Some(config)) => {
                let config = config.clone();
                exec.life = Life::Starting;
                Ok((exec.container.clone(), config))
            }
            (Life::Exited { .. }, _) => Err(Error::new(
                ErrorKind::Conflict,
                format!("exec command {id} has already run"),
            )),
            _ => Err(Error::new(
                ErrorKind::Conflict,
                format!("exec command {id} is already running"),
            )),
        }
    }
}

/// Keys as they are told: the bytes themselves, encoded, as Go writes bytes in JSON.
fn shown_keys(keys: Option<&str>) -> String {
    let bytes = keys.and_then(|keys| attach::parse_keys(keys).ok());
    bytes.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default()
}

/// Exit code of what was killed with its container.
const KILLED: i32 = 137;

fn no_such_exec(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such exec instance: {id}"))
}

impl Engine {
    /// Makes an exec in a running container; nothing is started yet.
    pub async fn exec_create(&self, id: &str, config: ExecConfig) -> Result<String> {
        let container = self.inner.containers.find(id)?;
        require_running(&container)?;
        require_unpaused(&container, id, "exec")?;
        if let Some(keys) = &config.detach_keys {
            attach::parse_keys(keys).map_err(|_| {
                let words = format!("Invalid escape keys ({keys}) provided");
                Error::new(ErrorKind::InvalidParameter, words)
            })?;
        }
        let exec = super::create::random_id()?;
        let command = config.cmd.join(" ");
        let entry = Exec {
            container: container.clone(),
            config: Some(Arc::new(config)),
            life: Life::Created,
        };
        self.inner.execs.lock().insert(exec.clone(), entry);
        self.inner.events.container(
            &container,
            &format!("exec_create: {command}"),
            &[("execID", exec.clone())],
        );
        Ok(exec)
    }

    /// Starts an exec. A detached one is started when this returns `None`; else the client is waited for.
    pub async fn exec_start(&self, exec: &str, request: ExecStart) -> Result<Option<PendingExec>> {
        let (container, config, life) = self.inner.execs.find(exec)?;
        if life == Life::Created {
            require_running(&container)?;
            require_unpaused(&container, &container.id, "exec")?;
        }
        let tty = config.as_ref().is_some_and(|config| config.tty);
        self.inner.execs.begin(exec)?;
        if request.detach {
            start(&self.inner, exec, request, None).await?;
            return Ok(None);
        }
        Ok(Some(PendingExec::new(
            self.inner.clone(),
            exec.to_owned(),
            request,
            tty,
        )))
    }

    /// What is known of an exec. A client whose stream has ended finds the exit: the monitor is asked before an exec is
    /// called running.
    pub async fn exec_inspect(&self, exec: &str) -> Result<api::ExecInspect> {
        let (container, config, mut life) = self.inner.execs.find(exec)?;
        if matches!(life, Life::Running { .. }) {
            let synced = container.order(|reply| Order::Sync { reply });
            // One that is stopped by a debugger, or ends meanwhile, does not answer; what is known is told then.
            let _ = tokio::time::timeout(SYNC, synced).await;
            life = self.inner.execs.find(exec)?.2;
        }
        let config = config.unwrap_or_default();
        let (entrypoint, arguments) = config
            .cmd
            .split_first()
            .map_or_else(Default::default, |(first, rest)| (first.clone(), rest.to_vec()));
        Ok(api::ExecInspect {
            id: exec.to_owned(),
            running: matches!(life, Life::Running { .. } | Life::Starting),
            exit_code: match life {
                Life::Exited { code, .. } => Some(i64::from(code)),
                _ => None,
            },
            process_config: api::ProcessConfig {
                tty: config.tty,
                entrypoint,
                arguments,
                privileged: Some(config.privileged),
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            // Docker says so of all that clients can ask for.
            can_remove: false,
            container_id: container.id.clone(),
            detach_keys: shown_keys(config.detach_keys.as_deref()),
            pid: match life {
                Life::Running { pid } | Life::Exited { pid, .. } => i64::from(pid),
                Life::Created | Life::Starting => 0,
            },
        })
    }

    /// Sets the size of an exec's terminal.
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let (container, _, life) = self.inner.execs.find(exec)?;
        match life {
            Life::Running { .. } | Life::Starting => {}
            Life::Created => {
                let words = format!("exec process {exec} is not running");
                return Err(Error::new(ErrorKind::Conflict, words));
            }
            Life::Exited { .. } => {
                let words = format!("NotFound: process does not exist {exec}: not found");
                return Err(Error::new(ErrorKind::NotFound, words));
            }
        }
        container
            .order(|reply| Order::Resize {
                exec: Some(exec.to_owned()),
                rows,
                columns,
                reply,
            })
            .await
    }
}

fn require_running(container: &Container) -> Result<()> {
    let state = container.view().state;
    if state.is_running() {
        return Ok(());
    }
    if state.is_restarting() {
        return Err(restarting(&container.id));
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("container {} is not running", container.id),
    ))
}

/// Refuses what a frozen process would never answer; `reference` is what the client calls the container.
pub(crate) fn require_unpaused(container: &Container, reference: &str, operation: &str) -> Result<()> {
    if !container.view().state.is_paused() {
        return Ok(());
    }
    // Docker's words differ in this letter.
    let what = if operation == "exec" { "Container" } else { "container" };
    Err(Error::new(
        ErrorKind::Conflict,
        format!("{what} {reference} is paused, unpause the container before {operation}"),
    ))
}

/// Orders the process from the container's monitor and waits until its program executes.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    id: &str,
    request: ExecStart,
    client: Option<ClientConnection>,
) -> Result<()> {
    let (container, config, _) = inner.execs.find(id)?;
    let config = config.ok_or_else(|| no_such_exec(id))?;
    // It may have another name since.
    let container = inner.containers.find(&container.id)?;
    let (rows, columns) = request.console_size.or(config.console_size).unwrap_or_default();
    let mut slots = Slots::default();
    let plan = plan::later_plan(inner, &container, &config, (rows, columns), &mut slots);
    let (plan, fds) = match plan.and_then(|plan| plan::seal_exec(&plan, slots)) {
        Ok(sealed) => sealed,
        Err(error) => {
            inner.execs.exited(id, super::launch::exit_code_of(&error));
            return Err(error);
        }
    };
    let client = client.map(|client| -> Result<(Attachment, OwnedFd)> {
        let streams = Streams {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        let framing = if config.tty { Framing::Raw } else { Framing::Multiplexed };
        attach::attachment(client, streams, framing, config.detach_keys.as_deref(), config.tty)
    });
    let exec = ExecOrder {
        exec: id.to_owned(),
        told_as: Some(format!("exec_start: {}", config.cmd.join(" "))),
        plan,
        client: client.transpose()?,
        fds,
    };
    let started = container.order(|reply| Order::Exec { exec, reply }).await;
    started.map(|_| ()).inspect_err(|error| {
        inner.execs.exited(id, super::launch::exit_code_of(error));
    })
}

/// Forgets an exec that ended, here and in its monitor, once nobody is likely to ask for it.
pub(crate) fn forget_later(inner: &Arc<Inner>, container: &Arc<Container>, exec: String) {
    let (inner, container) = (Arc::downgrade(inner), container.clone());
    tokio::spawn(async move {
        tokio::time::sleep(KEPT).await;
        if let Some(inner) = inner.upgrade() {
            inner.execs.lock().remove(&exec);
            container.tell(Order::ForgetExec { exec });
        }
    });
}
