//! Starting a container: what has to be there is prepared, a plan is made, a monitor is forked with it.
//!
//! ```text
//!   prepare (a blocking thread)              undone on failure by
//!     directory, writable layer, overlay     the descriptor's end; the directory stays with the container
//!     network namespace and endpoint         Undo: the endpoint is released
//!     hosts, hostname, resolv.conf           they are written anew at each start
//!     state.json: the run begins             state.json: the start failed
//!   fork a monitor with the plan
//!   wait for Started, StartFailed, or the channel's end
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use conex_container::NetworkChoice;
use conex_container::state::{Exit, State};
use conex_protocol::daemon::{self, Event, News, NotStarted};
use conex_protocol::message::{Attachment, Failure, FailureReason, FromMonitor, MonitorOrder, NO_ANSWER, ToMonitor};
use conex_snapshot::{Mapped, Own, Rootfs, Writable};
use conex_spec::plan::{FdSlot, Root};
use conex_sys::{memfd, seqpacket};
use serde::Serialize;

use crate::containers::files::{NEVER, RunRecord, StateRecord};
use crate::containers::link::Link;
use crate::containers::shortage::Shortage;
use crate::containers::task::{Greeted, Run};
use crate::containers::{Container, limits, logs, plan, recovery, resolution};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::connect::namespace_of;
use crate::networks::dns;
use crate::networks::{Connection, Endpoint};
use crate::selinux;
use crate::template::Forked;
use crate::user_namespaces;

/// A container that runs.
pub(crate) struct Launched {
    /// Its monitor.
    pub(crate) run: Run,
    /// Pid of its first process.
    pub(crate) pid: i32,
    /// RFC 3339 with nanoseconds, UTC.
    pub(crate) started_at: String,
}

/// A start that failed; nothing of it is left.
pub(crate) struct StartFailure {
    /// What the client is told.
    pub(crate) error: Error,
    /// What the container's state becomes.
    pub(crate) exit: Exit,
}

/// Exit code of a start that failed for a reason of our own; Docker's.
const NOT_STARTED: i32 = 128;

/// How often a start is tried again because the template was lost in its fork.
const FORK_ATTEMPTS: u32 = 2;

/// Exit code of a process that could not be executed, as shells count it.
pub(crate) fn exit_code(reason: FailureReason) -> i32 {
    match reason {
        FailureReason::NotFound => 127,
        FailureReason::NotExecutable | FailureReason::WorkingDirectory => 126,
        FailureReason::NoSuchUser | FailureReason::Limit | FailureReason::Other => NOT_STARTED,
    }
}

/// Exit code that an exec which did not start is inspected with.
pub(crate) fn exit_code_of(error: &Error) -> i32 {
    if error.message().contains("executable file not found") || error.message().contains("no such file or directory") {
        127
    } else {
        126
    }
}

/// A failure of the runtime in the words that clients match on.
pub(crate) fn failure_error(failure: &Failure) -> Error {
    let kind = match failure.reason {
        FailureReason::Other => ErrorKind::System,
        _ => ErrorKind::InvalidParameter,
    };
    Error::new(
        kind,
        format!(
            "OCI runtime exec failed: exec failed: unable to start container process: {}",
            failure.message
        ),
    )
}

fn start_error(failure: &Failure) -> Error {
    let kind = match failure.reason {
        FailureReason::Other => ErrorKind::System,
        _ => ErrorKind::InvalidParameter,
    };
    if failure.reason == FailureReason::NoSuchUser {
        // Docker looks for it before it calls its runtime.
        return Error::new(kind, failure.message.clone());
    }
    let text = format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: \
         unable to start container process: {}",
        failure.message
    );
    Error::new(kind, text)
}

/// Starts a container with the clients that attached before.
pub(crate) async fn launch(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    before: Option<&Exit>,
    restarts: u32,
    early: Vec<(Attachment, OwnedFd)>,
) -> std::result::Result<Launched, StartFailure> {
    match try_launch(engine, container, before, restarts, early).await {
        Ok(launched) => Ok(launched),
        Err((error, code)) => {
            let exit = Exit {
                code,
                oom_killed: false,
                started_at: before.map_or_else(|| NEVER.to_owned(), |exit| exit.started_at.clone()),
                finished_at: before.map_or_else(|| NEVER.to_owned(), |exit| exit.finished_at.clone()),
                error: Some(error.message().to_owned()),
            };
            let record = StateRecord {
                before: None,
                run: None,
                failed: Some(exit.clone()),
                restarts,
            };
            if let Err(error) = recovery::publish(&engine.files.state_file(&container.id), &record) {
                tracing::warn!(container = %container.id, %error, "note that the start failed");
            }
            Err(StartFailure { error, exit })
        }
    }
}

type Failed = (Error, i32);

fn own_failure(error: Error) -> Failed {
    (error, NOT_STARTED)
}

async fn try_launch(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    before: Option<&Exit>,
    restarts: u32,
    early: Vec<(Attachment, OwnedFd)>,
) -> std::result::Result<Launched, Failed> {
    let preparing = {
        let (engine, container, before) = (engine.clone(), container.clone(), before.cloned());
        tokio::task::spawn_blocking(move || prepare(&engine, &container, before, restarts))
    };
    let mut prepared = preparing
        .await
        .map_err(|error| own_failure(Error::new(ErrorKind::System, format!("prepare the start: {error}"))))?
        .map_err(|error| {
            recovery::bury(engine, container);
            own_failure(error)
        })?;
    let served = match prepared.connection.take_resolver() {
        Some(resolver) => dns::serve(engine, &container.id, resolver),
        None => Ok(()),
    };
    let outcome = match served {
        Ok(()) => fork(engine, container, &mut prepared, &early).await,
        Err(error) => Err(own_failure(system("serve names")(error))),
    };
    if outcome.is_err() {
        recovery::bury(engine, container);
    }
    match outcome {
        Ok(Started {
            greeted,
            pid,
            started_at,
        }) => {
            let endpoints = prepared.connection.into_endpoints();
            Ok(Launched {
                run: Run::new(greeted, endpoints, Shortage::watch(engine, container)),
                pid,
                started_at,
            })
        }
        Err(failed) => {
            release(engine, container, prepared.connection.into_endpoints()).await;
            Err(failed)
        }
    }
}

/// What a start has made ready.
struct Prepared {
    order: Arc<OwnedFd>,
    run_dir: Arc<OwnedFd>,
    fds: Vec<Arc<OwnedFd>>,
    connection: Connection,
}

fn prepare(engine: &Inner, container: &Container, before: Option<Exit>, restarts: u32) -> Result<Prepared> {
    let files = &engine.files;
    let id = container.id.as_str();
    selinux::check(engine, container)?;
    let run_dir = create_run_dir(engine, container)?;
    engine.volumes.begin(container)?;
    let own = user_namespaces::of_start(engine, container)?;
    let root = mount_root(engine, container, own.as_ref().map(|own| own.user.as_fd()))?;
    let (user, network) = own.map_or((None, None), |own| (Some(own.user), own.network));
    let connection = connect(engine, container, network)?;
    let endpoints = connection.endpoints().to_vec();
    let mut undo = Undo {
        engine,
        container: id,
        endpoints: endpoints.clone(),
    };
    resolution::write(engine, container, &endpoints)?;
    limits::give_real_time(engine, container)?;
    let run = RunRecord {
        boot_id: engine.host.boot_id.clone(),
        begun_at: Some(jiff::Timestamp::now().to_string()),
        cgroup: Some(engine.next_place(container).map_err(plan::invalid)?),
        endpoints,
    };
    begin_run(engine, id, before, restarts, run).map_err(system(format!("note the start of container {id}")))?;

    let mut slots = Slots::default();
    let plan = plan::init_plan(engine, container, (root, user), &connection, &mut slots)?;
    let order = MonitorOrder {
        container: id.to_owned(),
        exit_file: files.exit_file(id).display().to_string(),
        log: logs::order(engine, container)?,
        keep_stdin_open: container.config.open_stdin && !container.config.stdin_once,
        plan,
    };
    let order = seal("monitor-order", &order)?;
    undo.endpoints.clear();
    Ok(Prepared {
        order: order.into(),
        run_dir: run_dir.into(),
        fds: slots.fds.into_iter().map(Arc::new).collect(),
        connection,
    })
}

/// Gives the endpoints back unless the start goes on.
struct Undo<'a> {
    engine: &'a Inner,
    container: &'a str,
    endpoints: Vec<Endpoint>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.engine.networks.release(self.container, &self.endpoints);
    }
}

/// The container's network: its own connections, or that of the container that it shares.
fn connect(engine: &Inner, container: &Container, own: Option<OwnedFd>) -> Result<Connection> {
    let NetworkChoice::Container(other) = &container.config.network else {
        return engine.networks.connect(container, own);
    };
    let other = engine.containers.find(other).map_err(|error| {
        let words = format!("joining network namespace of container: {}", error.message());
        Error::new(error.kind(), words)
    })?;
    let state = other.view().state;
    let State::Running { pid, .. } = state else {
        let words = format!(
            "cannot join network namespace of a non running container: container {} is {}",
            other.name,
            state.status()
        );
        return Err(Error::new(ErrorKind::Conflict, words));
    };
    namespace_of(pid).map(Connection::shared)
}

/// Gives endpoints back, off the event loop: taking published ports back blocks.
pub(crate) async fn release(engine: &Arc<Inner>, container: &Container, endpoints: Vec<Endpoint>) {
    engine.networks.resolvers.stop(&container.id);
    let (engine, id) = (engine.clone(), container.id.clone());
    let released = tokio::task::spawn_blocking(move || engine.networks.release(&id, &endpoints));
    if let Err(error) = released.await {
        tracing::error!(%error, container = %container.id, "give the container's networks back");
    }
}

/// Takes off what only this container had mounted, off the event loop.
pub(crate) async fn let_go_of_volumes(engine: &Arc<Inner>, container: &Arc<Container>) {
    if container.config.mounted_volumes().next().is_none() {
        return;
    }
    let (engine, ended) = (engine.clone(), container.clone());
    if let Err(error) = tokio::task::spawn_blocking(move || engine.volumes.end(&ended)).await {
        tracing::error!(%error, container = %container.id, "let go of the container's volumes");
    }
}

/// Descriptors that go beside a plan, numbered as they are added.
#[derive(Default)]
pub(crate) struct Slots {
    fds: Vec<OwnedFd>,
}

impl Slots {
    /// Adds one.
    pub(crate) fn add(&mut self, fd: OwnedFd) -> FdSlot {
        let slot = FdSlot(u16::try_from(self.fds.len()).unwrap_or(u16::MAX));
        self.fds.push(fd);
        slot
    }

    /// Those that were added.
    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        self.fds
    }
}

/// Makes the run's directory; one that a dead monitor left is removed with all that it left.
fn create_run_dir(engine: &Inner, container: &Container) -> Result<OwnedFd> {
    let dir = engine.files.run_dir(&container.id);
    let create = || DirBuilder::new().mode(0o700).create(&dir);
    let created = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            recovery::clean(engine, container);
            create()
        }
        outcome => outcome,
    };
    created
        .and_then(|()| fs::File::open(&dir))
        .map(OwnedFd::from)
        .map_err(system(format!("create {}", dir.display())))
}

/// Mounts a container's root file system, with the ids of its user namespace. The caller holds the container's `layer`.
pub(crate) fn mount_root(engine: &Inner, container: &Container, user: Option<BorrowedFd<'_>>) -> Result<OwnedRoot> {
    let image = engine.image_of(container)?;
    let writable = if container.config.auto_remove {
        Writable::Volatile
    } else {
        Writable::Durable
    };
    let dir = engine.files.dir(&container.id);
    let own = Own {
        label: selinux::mount_label(engine, container),
        ..container.own(&dir)
    };
    let rootfs = match (user, &container.map) {
        (Some(namespace), Some(map)) => {
            let mapped = Mapped { namespace, map };
            engine.snapshots.rootfs_mapped(&image.layers, own, writable, mapped)
        }
        _ => engine.snapshots.rootfs(&image.layers, own, writable),
    };
    let rootfs = rootfs.map_err(|error| Error::new(ErrorKind::System, error.to_string()).caused_by(error))?;
    Ok(match rootfs {
        Rootfs::Detached(fd) => OwnedRoot::Mount(fd),
        Rootfs::Attached {
            base,
            lower,
            upper,
            work,
            volatile,
        } => OwnedRoot::Plan(Root::Overlay {
            base,
            lower,
            upper,
            work,
            volatile,
        }),
    })
}

/// A root file system that belongs to this start.
pub(crate) enum OwnedRoot {
    /// A detached mount.
    Mount(OwnedFd),
    /// Mounted by the first process.
    Plan(Root),
}

/// From here on the daemon that comes next takes the run into account. The earlier exit goes last: until then it is what
/// is found.
fn begin_run(engine: &Inner, id: &str, before: Option<Exit>, restarts: u32, run: RunRecord) -> io::Result<()> {
    let again = before.is_some();
    recovery::publish(
        &engine.files.state_file(id),
        &StateRecord {
            before,
            run: Some(run),
            failed: None,
            restarts,
        },
    )?;
    if !again {
        return Ok(());
    }
    match fs::remove_file(engine.files.exit_file(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A run that was started.
struct Started {
    greeted: Greeted,
    pid: i32,
    started_at: String,
}

async fn fork(
    engine: &Inner,
    container: &Container,
    prepared: &mut Prepared,
    early: &[(Attachment, OwnedFd)],
) -> std::result::Result<Started, Failed> {
    let id = &container.id;
    for attempt in 1..=FORK_ATTEMPTS {
        let outcome = fork_once(engine, prepared, early)
            .await
            .map_err(|error| own_failure(system("start a monitor")(error)))?;
        match outcome {
            Ok(started) => return Ok(started),
            Err(NotStarted::Failed(failure)) => return Err((start_error(&failure), exit_code(failure.reason))),
            Err(NotStarted::NotForked(message)) => return Err(own_failure(Error::new(ErrorKind::System, message))),
            Err(NotStarted::TemplateLost) if attempt < FORK_ATTEMPTS => {
                tracing::warn!(container = %id, "the template was lost in a fork; once more");
                recovery::clean(engine, container);
                prepared.run_dir = create_run_dir(engine, container).map_err(own_failure)?.into();
            }
            Err(NotStarted::MonitorLost | NotStarted::TemplateLost) => {
                recovery::clean(engine, container);
                break;
            }
        }
    }
    Err(own_failure(Error::new(
        ErrorKind::System,
        format!("the monitor of container {id} was lost at its start"),
    )))
}

async fn fork_once(
    engine: &Inner,
    prepared: &Prepared,
    early: &[(Attachment, OwnedFd)],
) -> io::Result<std::result::Result<Started, NotStarted>> {
    let (ours, theirs) = seqpacket::pair()?;
    let link = Link::new(ours)?;
    for (attachment, client) in early {
        let message = ToMonitor::Attach {
            request: NO_ANSWER,
            attachment: attachment.clone(),
        };
        link.send(&message, &[client.as_fd()]).await?;
    }
    let fds = std::iter::once(&prepared.run_dir)
        .chain(&prepared.fds)
        .cloned()
        .collect();
    conex_sys::failpoint::hit("start.before-fork");
    let mut forked = engine.template.fork(prepared.order.clone(), theirs.into(), fds);
    let mut protocol = daemon::Run::launch();
    let (mut answered, mut ended) = (false, false);
    loop {
        let event = tokio::select! {
            answer = &mut forked, if !answered => {
                answered = true;
                match answer {
                    Ok(Forked::Yes) => {
                        conex_sys::failpoint::hit("start.after-fork");
                        Event::Forked
                    }
                    Ok(Forked::Unknown) => Event::TemplateLost,
                    Ok(Forked::No(message)) => Event::ForkFailed(message),
                    Err(_) => Event::ForkFailed("the engine ends".into()),
                }
            }
            message = link.receive::<FromMonitor>(), if !ended => {
                let message = message?;
                ended = message.is_none();
                message.map_or(Event::ChannelEnded, |(message, _)| Event::Message(message))
            }
        };
        for news in protocol.on(event) {
            match news {
                News::Started {
                    pid, started_at, build, ..
                } => {
                    return Ok(Ok(Started {
                        greeted: Greeted { link, protocol, build },
                        pid,
                        started_at,
                    }));
                }
                News::NotStarted(why) => return Ok(Err(why)),
                News::Held { .. } => link.send(&ToMonitor::Go, &[]).await?,
                _ => {}
            }
        }
    }
}

/// Seals a plan or an order.
pub(crate) fn seal<T: Serialize>(name: &str, value: &T) -> Result<OwnedFd> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::System, format!("encode {name}")).caused_by(error))?;
    memfd::sealed(name, &bytes).map_err(system(format!("seal {name}")))
}

pub(crate) fn system(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.into();
    move |error| Error::new(ErrorKind::System, format!("{operation}: {error}")).caused_by(error)
}
