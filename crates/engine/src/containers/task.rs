//! The task that owns one container: orders in, a published view out.
//!
//! Everything that changes a container goes through its queue, one order after the other; the monitor's news are
//! taken between them. What clients read (`list`, `inspect`, `wait`) is the published `View` and never waits here.

mod again;
mod alter;
mod health;
mod networks;
mod order;
mod refusal;
mod run;
mod upgrade;

pub(crate) use again::{After, Again};
pub(crate) use networks::NetworkChange;
pub(crate) use order::{ExecOrder, Order, Reply};
use order::{Pending, answer};
use refusal::refused;
pub(crate) use refusal::{not_running, restarting};
pub(crate) use run::{Greeted, Run};
use run::{end_of, receive};

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use conex_container::health::{Healing, Health};
use conex_container::state::{Event, Exit, Refusal, State};
use conex_protocol::daemon::{self, News};
use conex_protocol::message::{Attachment, Request, ToMonitor};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use crate::containers::health::is_probe;
use crate::containers::launch::{self, StartFailure};
use crate::containers::link::Link;
use crate::containers::removal::Unnamed;
use crate::containers::shortage;
use crate::containers::{Container, execs, logs, recovery, removal};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::Endpoint;

/// What is published about a container.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Where it is in its life.
    pub(crate) state: State,
    /// How the last run ended, also while it is being removed.
    pub(crate) last: Option<Exit>,
    /// How many runs have ended since the daemon knows it.
    pub(crate) exits: u64,
    /// How many times its policy had it started again since a client started it.
    pub(crate) restarts: u32,
    /// Its connections to networks while it runs.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Whether it was out of memory in this run.
    pub(crate) out_of_memory: bool,
    /// What its checks have shown, where it has some and has been started.
    pub(crate) health: Option<Arc<Health>>,
}

impl View {
    /// Of a container in a state that it was found or made in.
    pub(crate) fn new(state: State, endpoints: Vec<Endpoint>) -> Self {
        let last = match &state {
            State::Exited(exit) | State::Restarting(exit) => Some(exit.clone()),
            _ => None,
        };
        Self {
            state,
            last,
            exits: 0,
            restarts: 0,
            endpoints,
            out_of_memory: false,
            health: None,
        }
    }
}

/// Who wants a container started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Client,
    Policy,
}

/// The owner.
pub(crate) struct Task {
    engine: Arc<Inner>,
    container: Arc<Container>,
    orders: mpsc::UnboundedReceiver<Order>,
    view: watch::Sender<View>,
    run: Option<Run>,
    /// The connection to a monitor that has told the exit and is cleaning up.
    ending: Option<Link>,
    /// Whether and when it is started again.
    again: Again,
    /// Restarts for the sake of its health.
    healing: Healing,
    /// Clients that attached before the start.
    early: Vec<(Attachment, OwnedFd)>,
    /// The writable layer, from a start to the end of its monitor.
    layer: Option<OwnedMutexGuard<()>>,
}

impl Task {
    /// Starts the task of a container; `run` where a monitor of it was found.
    pub(crate) fn spawn(
        engine: Arc<Inner>,
        container: Arc<Container>,
        orders: mpsc::UnboundedReceiver<Order>,
        view: watch::Sender<View>,
        run: Option<Run>,
        again: Again,
    ) {
        let layer = run.as_ref().and_then(|_| container.layer.clone().try_lock_owned().ok());
        tokio::spawn(
            Self {
                engine,
                container,
                orders,
                view,
                run,
                ending: None,
                again,
                healing: Healing::default(),
                early: Vec::new(),
                layer,
            }
            .serve(),
        );
    }

    async fn serve(mut self) {
        self.resume_health();
        while !matches!(self.state(), State::Gone) {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.carry_out(order).await,
                    None => return,
                },
                event = receive(self.run.as_ref(), &self.container.id) => self.on_event(event).await,
                () = shortage::next(self.run.as_ref().and_then(|run| run.shortage.as_ref())) => self.on_shortage(),
                () = end_of(self.ending.as_ref()) => {
                    self.ending = None;
                    self.layer = None;
                    recovery::bury(&self.engine, &self.container);
                }
                () = again::until(self.again.due) => self.start_again().await,
                () = tokio::time::sleep(EARLY_REVIEW), if !self.early.is_empty() => {
                    self.early.retain(|(_, client)| !has_vanished(client));
                }
            }
        }
    }

    fn state(&self) -> State {
        self.view.borrow().state.clone()
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Start { reply } => answer(reply, self.start(Cause::Client).await),
            Order::StartAgain if self.state().is_restarting() => self.start_again().await,
            Order::StartAgain => {}
            Order::Remove { force, unnamed, reply } => answer(reply, self.remove(force, unnamed).await),
            Order::Rename { name, reply } => answer(reply, self.rename(&name).await),
            Order::Networks { change, reply } => answer(reply, self.change_networks(change).await),
            Order::Update { asked, reply } => answer(reply, self.update(&asked).await),
            Order::Pause { reply } => answer(reply, self.pause().await),
            Order::Unpause { reply } => answer(reply, self.unpause().await),
            Order::Hold { reply } => answer(reply, self.hold().await),
            Order::LetGo { reply } => answer(reply, self.let_go().await),
            Order::Signal { signal, after, reply } => self.signal(signal, after, reply).await,
            Order::Sync { reply } => {
                self.ask(Pending::Answer(reply), &[], |request| ToMonitor::Sync { request })
                    .await;
            }
            Order::Resize {
                exec,
                rows,
                columns,
                reply,
            } => {
                self.ask(Pending::Answer(reply), &[], |request| ToMonitor::Resize {
                    request,
                    exec,
                    rows,
                    columns,
                })
                .await;
            }
            Order::Attach {
                attachment,
                client,
                during,
                reply,
            } if during.is_none_or(|ended| ended == self.view.borrow().exits) => {
                self.attach(attachment, client, reply).await;
            }
            Order::Attach { reply, .. } => answer(reply, Ok(())),
            Order::Exec { exec, reply } => self.exec(exec, reply).await,
            Order::Probe { exec, ended, reply } => self.probe(exec, ended, reply).await,
            Order::Probed {
                outcome,
                counts,
                during,
                reply,
            } => {
                self.probed(outcome, counts, during);
                answer(reply, Ok(()));
            }
            Order::EndExec { exec } => self.send(&ToMonitor::EndExec { exec }).await,
            Order::Upgrade { program, reply } => self.upgrade(&program, reply).await,
            Order::ForgetExec { exec } => self.send(&ToMonitor::ForgetExec { exec }).await,
        }
    }

    /// Tells the monitor what it does not answer; one that is gone is seen elsewhere.
    async fn send(&self, message: &ToMonitor) {
        if let Some(run) = &self.run
            && let Err(error) = run.link.send(message, &[]).await
        {
            tracing::debug!(container = %self.container.id, %error, "send to the monitor");
        }
    }

    /// Asks the monitor; its answer goes to `pending` when it comes.
    async fn ask(&mut self, pending: Pending, fds: &[BorrowedFd<'_>], message: impl FnOnce(Request) -> ToMonitor) {
        let Some((run, request)) = self
            .run
            .as_mut()
            .and_then(|run| run.protocol.ask().map(|request| (run, request)))
        else {
            return pending.came_late(&self.container);
        };
        run.pending.insert(request, pending);
        if let Err(error) = run.link.send(&message(request), fds).await {
            tracing::debug!(container = %self.container.id, %error, "send to the monitor");
            self.on_event(daemon::Event::SendFailed(request)).await;
        }
    }

    async fn attach(&mut self, attachment: Attachment, client: OwnedFd, reply: Reply<()>) {
        match self.state() {
            State::Running { .. } => {
                self.ask(Pending::Attach(reply), &[client.as_fd()], |request| ToMonitor::Attach {
                    request,
                    attachment,
                })
                .await;
            }
            State::Removing | State::Gone => answer(reply, Err(refused(Refusal::Removing, &self.container))),
            State::Created | State::Exited(_) | State::Restarting(_) | State::Starting { .. } => {
                self.early.retain(|(_, client)| !has_vanished(client));
                self.early.push((attachment, client));
                answer(reply, Ok(()));
            }
        }
    }

    async fn exec(&mut self, exec: ExecOrder, reply: Reply<i32>) {
        let (attachment, client) = exec.client.unzip();
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(&exec.plan)
            .chain(&client)
            .chain(&exec.fds)
            .map(AsFd::as_fd)
            .collect();
        conex_sys::failpoint::hit("exec.before-send");
        let told_as = exec.told_as;
        self.ask(Pending::Exec { told_as, reply }, &fds, |request| ToMonitor::Exec {
            request,
            exec: exec.exec,
            attachment,
        })
        .await;
    }

    async fn start(&mut self, cause: Cause) -> Result<()> {
        let event = match cause {
            Cause::Client => Event::Start,
            Cause::Policy => Event::Restart,
        };
        let (starting, _) = self
            .state()
            .on(event)
            .map_err(|refusal| refused(refusal, &self.container))?;
        if cause == Cause::Client {
            self.again.reset();
            self.view.send_modify(|view| view.restarts = 0);
            recovery::unmark_stopped(&self.engine, &self.container)?;
        }
        self.again.is_automatic = cause == Cause::Policy;
        let before = self.view.borrow().last.clone();
        let restarts = self.view.borrow().restarts;
        self.publish(starting);
        if let Some(link) = self.ending.take() {
            end_of(Some(&link)).await;
            recovery::bury(&self.engine, &self.container);
        }
        if self.layer.is_none() {
            self.layer = Some(self.container.layer.clone().lock_owned().await);
        }
        let early = std::mem::take(&mut self.early);
        match launch::launch(&self.engine, &self.container, before.as_ref(), restarts, early).await {
            Ok(launched) => {
                let endpoints = launched.run.endpoints.clone();
                self.run = Some(launched.run);
                let event = Event::Started {
                    pid: launched.pid,
                    started_at: launched.started_at,
                };
                if let Ok((state, _)) = self.state().on(event) {
                    self.view.send_modify(|view| {
                        view.endpoints.clone_from(&endpoints);
                        view.out_of_memory = false;
                        view.state = state;
                    });
                }
                conex_sys::failpoint::hit("start.after-started");
                self.engine.events.volumes_mounted(&self.container);
                for endpoint in &endpoints {
                    self.engine.events.endpoint("connect", endpoint, &self.container.id);
                }
                self.engine.events.container(&self.container, "start", &[]);
                self.begin_health();
                if let Some(follow) = logs::forwarding(&self.engine, &self.container, true) {
                    self.engine.forwarder.follow(follow);
                }
                self.settle_connections().await;
                Ok(())
            }
            Err(StartFailure { error, exit }) => {
                self.end_run(Event::StartFailed(exit)).await;
                Err(error)
            }
        }
    }

    async fn remove(&mut self, force: bool, unnamed: Unnamed) -> Result<()> {
        if force && self.run.is_some() {
            self.kill_and_wait().await;
        }
        // An automatic removal may have been quicker.
        if matches!(self.state(), State::Gone) {
            return Ok(());
        }
        let (removing, _) = self
            .state()
            .on(Event::Remove { force })
            .map_err(|refusal| refused(refusal, &self.container))?;
        self.delete(removing, unnamed).await
    }

    /// Kills the run and takes its exit.
    async fn kill_and_wait(&mut self) {
        let (reply, _) = oneshot::channel();
        self.signal(9, After::Asker, reply).await;
        while self.run.is_some() {
            let event = receive(self.run.as_ref(), &self.container.id).await;
            self.on_event(event).await;
        }
    }

    async fn delete(&mut self, removing: State, unnamed: Unnamed) -> Result<()> {
        let before = self.state();
        self.again.due = None;
        self.publish(removing);
        // Clients that attached and never saw a start are let go.
        self.early.clear();
        self.container.followers.none(LAST_LINES).await;
        if let Err(error) = removal::remove(&self.engine, &self.container, unnamed).await {
            self.publish(before);
            return Err(error);
        }
        if let Some(link) = self.ending.take() {
            let (engine, container, layer) = (self.engine.clone(), self.container.clone(), self.layer.take());
            let leaving = engine.leaving.one_more();
            tokio::spawn(async move {
                end_of(Some(&link)).await;
                drop(layer);
                recovery::bury(&engine, &container);
                drop(leaving);
            });
        }
        self.engine.collect_images().await;
        self.engine.execs.forget_container(&self.container.id);
        self.engine.events.container(&self.container, "destroy", &[]);
        self.publish(State::Gone);
        Ok(())
    }

    /// Feeds the protocol, and takes what it tells. (Boxed: a request that cannot be sent is such an event, too.)
    fn on_event(&mut self, event: daemon::Event) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let news = self.run.as_mut().map(|run| run.protocol.on(event));
            for news in news.into_iter().flatten() {
                self.on_news(news).await;
            }
        })
    }

    async fn on_news(&mut self, news: News) {
        match news {
            News::Exited(record) => {
                let link = self.run.as_mut().map(|run| run.link.clone());
                self.ending = link;
                self.end_run(Event::Exited(recovery::exit(record))).await;
            }
            News::Lost => self.on_loss().await,
            News::Done { request } => self.settle(request, Ok(0)),
            News::Refused { request, message } => {
                self.settle(request, Err(Error::new(ErrorKind::System, message)));
            }
            News::Unanswered { request } => {
                if let Some(pending) = self.run.as_mut().and_then(|run| run.pending.remove(&request)) {
                    pending.came_late(&self.container);
                }
            }
            News::ExecStarted { request, exec, pid } => {
                conex_sys::failpoint::hit("exec.after-started");
                self.engine.execs.started(&exec, pid);
                self.tell_of_exec(request, exec);
                self.settle(request, Ok(pid));
            }
            News::ExecFailed { request, exec, failure } => {
                self.probe_failed(&exec);
                self.engine.execs.exited(&exec, launch::exit_code(failure.reason));
                self.settle(request, Err(launch::failure_error(&failure)));
            }
            News::ExecEnded { exec, code } if is_probe(&exec) => self.probe_ended(exec, code).await,
            News::ExecEnded { exec, code } => {
                self.engine.execs.exited(&exec, code);
                execs::forget_later(&self.engine, &self.container, exec.clone());
                let details = [("execID", exec), ("exitCode", code.to_string())];
                self.engine.events.container(&self.container, "exec_die", &details);
            }
            News::Detached { exec: None } => self.engine.events.container(&self.container, "detach", &[]),
            News::Detached { exec: Some(exec) } => {
                self.engine
                    .events
                    .container(&self.container, "exec_detach", &[("execID", exec)]);
            }
            // Learned by whoever launched the run or found it again.
            News::Held { .. } | News::Started { .. } | News::NotStarted(_) => {}
        }
    }

    fn tell_of_exec(&self, request: Request, exec: String) {
        let pending = self.run.as_ref().and_then(|run| run.pending.get(&request));
        if let Some(Pending::Exec {
            told_as: Some(action), ..
        }) = pending
        {
            self.engine
                .events
                .container(&self.container, action, &[("execID", exec)]);
        }
    }

    fn settle(&mut self, request: Request, outcome: Result<i32>) {
        if let Some(pending) = self.run.as_mut().and_then(|run| run.pending.remove(&request)) {
            match (&pending, &outcome) {
                (Pending::Signal { signal, .. }, Ok(_)) => {
                    let details = [("signal", signal.to_string())];
                    self.engine.events.container(&self.container, "kill", &details);
                }
                (Pending::Upgrade { build, .. }, Ok(_)) => self.upgraded(build),
                _ => {}
            }
            pending.settle(outcome);
        }
    }

    /// The kernel kills for memory, or has processes wait for it.
    fn on_shortage(&mut self) {
        self.view.send_modify(|view| view.out_of_memory = true);
        self.engine.events.container(&self.container, "oom", &[]);
    }

    /// The monitor is gone: its record tells the exit; without one the exit is unknown, and everything is killed.
    async fn on_loss(&mut self) {
        let exit = recovery::exit_after_loss(&self.engine, &self.container);
        self.end_run(Event::Exited(exit)).await;
    }

    async fn end_run(&mut self, event: Event) {
        let died = matches!(event, Event::Exited(_));
        let out_of_memory = matches!(&event, Event::Exited(exit) if exit.oom_killed);
        let Ok((state, _)) = self.state().on(event) else { return };
        if out_of_memory && !self.view.borrow().out_of_memory {
            self.engine.events.container(&self.container, "oom", &[]);
        }
        conex_sys::failpoint::hit("exit.before-publish");
        if self.ending.is_none() {
            self.layer = None;
        }
        let Some(run) = self.run.take() else {
            launch::let_go_of_volumes(&self.engine, &self.container).await;
            return self.after_end(state, died).await;
        };
        for endpoint in &run.endpoints {
            self.engine.events.endpoint("disconnect", endpoint, &self.container.id);
        }
        launch::release(&self.engine, &self.container, run.endpoints).await;
        launch::let_go_of_volumes(&self.engine, &self.container).await;
        self.engine.events.volumes_unmounted(&self.container);
        self.engine.execs.container_exited(&self.container.id);
        self.end_health();
        self.engine.forwarder.ended(&self.container.id);
        self.after_end(state, died).await;
    }

    async fn after_end(&mut self, state: State, died: bool) {
        let State::Exited(exit) = state else { return };
        if died {
            self.engine.events.container(
                &self.container,
                "die",
                &[
                    ("execDuration", seconds(&exit).to_string()),
                    ("exitCode", exit.code.to_string()),
                ],
            );
        }
        let wait = self.wait_of(&exit, died);
        self.again.due = wait.map(|wait| tokio::time::Instant::now() + wait);
        self.view.send_modify(|view| {
            view.exits += 1;
            view.last = Some(exit.clone());
            view.endpoints.clear();
            view.restarts += u32::from(wait.is_some());
            view.state = match wait {
                Some(_) => State::Restarting(exit),
                None => State::Exited(exit),
            };
        });
        if self.container.config.auto_remove
            && self.again.asked != Some(After::Starts)
            && let Ok((removing, _)) = self.state().on(Event::Remove { force: false })
            && let Err(error) = self.delete(removing, Unnamed::Go).await
        {
            tracing::error!(container = %self.container.id, %error, "remove after the exit");
        }
    }

    fn publish(&self, state: State) {
        self.view.send_modify(|view| view.state = state);
    }
}

/// How long a run was, in whole seconds.
fn seconds(exit: &Exit) -> i64 {
    let time = |text: &str| text.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let ran = time(&exit.finished_at).duration_since(time(&exit.started_at));
    ran.as_secs().max(0)
}

/// How long a removal waits for clients that follow the log: it ends for them before the container is gone. One that does
/// not read has what it has.
const LAST_LINES: Duration = Duration::from_millis(100);

/// How often clients that wait for a start are looked after.
const EARLY_REVIEW: Duration = Duration::from_secs(2);

/// Whether a client that waits for a start has closed its connection and left nothing for the process.
fn has_vanished(client: &OwnedFd) -> bool {
    let gone = PollFlags::HUP | PollFlags::ERR;
    let mut polled = [PollFd::new(client, gone)];
    let looked = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    looked.is_ok()
        && polled[0].revents().intersects(gone)
        && rustix::io::ioctl_fionread(client).is_ok_and(|left| left == 0)
}
