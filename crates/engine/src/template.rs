//! The template: the one process that the daemon starts, from which all monitors are forked.
//!
//! It is started when the engine opens and again whenever it was lost. A template that dies in the middle of a
//! fork leaves open whether the monitor exists; the monitor's own channel tells (end of file: it does not), so
//! a lost template is never an error by itself.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use conex_protocol::message::{FromTemplate, Request, ToTemplate, VERSION};
use conex_sys::seqpacket;
use rustix::process::Rlimit;
use tokio::sync::{mpsc, oneshot, watch};

use crate::containers::link::Link;
use crate::descriptors;

/// How a fork went.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The monitor exists.
    Yes,
    /// There is none.
    No(String),
    /// The template was lost; the monitor's channel tells.
    Unknown,
}

/// What a template runs, and the monitors that it forks.
#[derive(Debug)]
pub(crate) struct Program {
    /// Tells it from any other.
    pub(crate) build: String,
    /// It, sealed in memory.
    pub(crate) copy: OwnedFd,
}

struct Fork {
    order: Arc<OwnedFd>,
    channel: OwnedFd,
    fds: Vec<Arc<OwnedFd>>,
    reply: oneshot::Sender<Forked>,
}

/// Handle to the task that owns the template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    forks: mpsc::UnboundedSender<Fork>,
    program: watch::Receiver<Option<Arc<Program>>>,
}

impl Template {
    /// Starts the template and the task that owns it. The task ends, and the template with it, when all handles are gone.
    pub(crate) fn open(path: PathBuf, descriptors: Rlimit) -> io::Result<Self> {
        let (forks, queue) = mpsc::unbounded_channel();
        let (told, program_of_it) = watch::channel(None);
        let recipe = Recipe { path, descriptors };
        let live = Live::spawn(&recipe)?;
        tokio::spawn(serve(recipe, live, queue, told));
        Ok(Self {
            forks,
            program: program_of_it,
        })
    }

    /// What the template runs, as soon as it has said so. A template that is older than this says nothing.
    pub(crate) fn program(&self) -> watch::Receiver<Option<Arc<Program>>> {
        self.program.clone()
    }

    /// Asks for a monitor; the answer arrives on the receiver, which errs only when the engine ends.
    pub(crate) fn fork(
        &self,
        order: Arc<OwnedFd>,
        channel: OwnedFd,
        fds: Vec<Arc<OwnedFd>>,
    ) -> oneshot::Receiver<Forked> {
        let (reply, answer) = oneshot::channel();
        // A closed queue drops the request and with it `reply`, which the receiver sees.
        let _ = self.forks.send(Fork {
            order,
            channel,
            fds,
            reply,
        });
        answer
    }
}

/// How a template is started.
struct Recipe {
    path: PathBuf,
    /// Its limit of open files, which monitors and containers have from it.
    descriptors: Rlimit,
}

/// Where it is published what the template runs.
type Told = watch::Sender<Option<Arc<Program>>>;

struct Live {
    link: Link,
    child: Child,
    pending: HashMap<Request, oneshot::Sender<Forked>>,
    next: Request,
}

impl Live {
    fn spawn(recipe: &Recipe) -> io::Result<Self> {
        let (ours, theirs) = seqpacket::pair()?;
        let path = &recipe.path;
        let mut child = Command::new(path)
            .arg("template")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("start {}: {error}", path.display())))?;
        // Before it is asked for a monitor.
        if let Err(error) = descriptors::give_back(child.id(), recipe.descriptors) {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        let link = Link::new(ours)?;
        Ok(Self {
            link,
            child,
            pending: HashMap::new(),
            next: 1,
        })
    }

    async fn send(&mut self, fork: Fork) -> io::Result<()> {
        let request = self.next;
        self.next += 1;
        self.pending.insert(request, fork.reply);
        let fds: Vec<BorrowedFd<'_>> = [fork.order.as_fd(), fork.channel.as_fd()]
            .into_iter()
            .chain(fork.fds.iter().map(|fd| fd.as_fd()))
            .collect();
        self.link.send(&ToTemplate::Fork { request }, &fds).await
    }

    fn on(&mut self, message: FromTemplate, fds: Vec<OwnedFd>, told: &Told) {
        let (request, outcome) = match message {
            FromTemplate::Hello { version, pid, build } => {
                tracing::debug!(version, pid, build, "template is ready");
                if let Some(copy) = fds.into_iter().next() {
                    told.send_replace(Some(Arc::new(Program { build, copy })));
                }
                return;
            }
            FromTemplate::Forked { request, .. } => (request, Forked::Yes),
            FromTemplate::ForkFailed { request, message } => (request, Forked::No(message)),
        };
        if let Some(reply) = self.pending.remove(&request) {
            // Nobody waits when the channel has told the outcome already.
            let _ = reply.send(outcome);
        }
    }

    /// Tells everyone that waits, and reaps.
    fn bury(mut self) {
        for (_, reply) in self.pending.drain() {
            let _ = reply.send(Forked::Unknown);
        }
        drop(self.link);
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "reap the template");
        }
    }
}

async fn serve(recipe: Recipe, live: Live, mut queue: mpsc::UnboundedReceiver<Fork>, told: Told) {
    let mut current = Some(live);
    if let Some(live) = &mut current {
        greet(live).await;
    }
    loop {
        tokio::select! {
            fork = queue.recv() => {
                let Some(fork) = fork else { break };
                if current.is_none() {
                    current = respawn(&recipe).await;
                }
                let Some(live) = &mut current else {
                    let _ = fork.reply.send(Forked::No("the template could not be started".into()));
                    continue;
                };
                if live.send(fork).await.is_err()
                    && let Some(dead) = current.take()
                {
                    dead.bury();
                }
            }
            message = receive(&current) => match message {
                Ok(Some((message, fds))) => if let Some(live) = &mut current { live.on(message, fds, &told) },
                Ok(None) | Err(_) => {
                    tracing::warn!("the template was lost; the next start makes a new one");
                    if let Some(dead) = current.take() {
                        dead.bury();
                    }
                }
            }
        }
    }
    if let Some(live) = current {
        live.bury();
    }
}

async fn receive(live: &Option<Live>) -> io::Result<Option<(FromTemplate, Vec<OwnedFd>)>> {
    match live {
        Some(live) => live.link.receive().await,
        None => std::future::pending().await,
    }
}

async fn respawn(recipe: &Recipe) -> Option<Live> {
    match Live::spawn(recipe) {
        Ok(mut live) => {
            greet(&mut live).await;
            Some(live)
        }
        Err(error) => {
            tracing::error!(%error, "start the template");
            None
        }
    }
}

async fn greet(live: &mut Live) {
    if let Err(error) = live.link.send(&ToTemplate::Hello { version: VERSION }, &[]).await {
        tracing::error!(%error, "greet the template");
    }
}
