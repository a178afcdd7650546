//! The three machines against each other: any order of messages, any death at any step.
//!
//! The model has one container. Its world is what the programs share: channels, the files of a run, the processes. A
//! schedule picks who moves next; every program may be killed between any two of its steps. Then the world is
//! brought to rest under a living daemon, and what the daemon believes is compared with what happened.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conex_protocol::daemon::{Event, News, NotStarted, Run, Traces, Verdict, judge};
use conex_protocol::message::{ExitRecord, FromMonitor, FromTemplate, Request, ToMonitor, ToTemplate, VERSION};
use conex_protocol::monitor::{Input, Monitor, Output};
use conex_protocol::template::{Action, Template, forked};
use proptest::prelude::*;

/// Who moves, or dies.
#[derive(Debug, Clone, Copy)]
enum Move {
    ClientStarts,
    ClientSignals,
    ClientExecs,
    ClientSyncs,
    ClientUpgrades,
    DaemonSteps,
    TemplateSteps,
    MonitorSteps(usize),
    ProcessEnds(i32),
    ExecEnds(i32),
    DaemonDies,
    DaemonStarts,
    TemplateDies,
    MonitorDies(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::ClientStarts),
        2 => Just(Move::ClientSignals),
        2 => Just(Move::ClientExecs),
        1 => Just(Move::ClientSyncs),
        1 => Just(Move::ClientUpgrades),
        16 => Just(Move::DaemonSteps),
        8 => Just(Move::TemplateSteps),
        20 => (0usize..4).prop_map(Move::MonitorSteps),
        2 => (0..100i32).prop_map(Move::ProcessEnds),
        2 => (0..100i32).prop_map(Move::ExecEnds),
        1 => Just(Move::DaemonDies),
        3 => Just(Move::DaemonStarts),
        1 => Just(Move::TemplateDies),
        1 => (0usize..4).prop_map(Move::MonitorDies),
    ]
}

/// A socket pair between a daemon and a monitor.
#[derive(Debug, Default)]
struct Channel {
    to_monitor: VecDeque<ToMonitor>,
    to_daemon: VecDeque<FromMonitor>,
    daemon_gone: bool,
    monitor_gone: bool,
}

/// The container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    None,
    Alive,
    Dead(i32),
}

/// What a monitor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Born,
    Bound,
    Cloned,
    Recorded,
    Serving,
    ExitRecorded,
    SocketRemoved,
    Gone,
}

struct MonitorProcess {
    machine: Monitor,
    stage: Stage,
    run: u32,
    process: Process,
    /// The connection to its daemon.
    channel: Option<usize>,
    directory: Option<u32>,
    /// Connections to its socket that it has not looked at.
    backlog: VecDeque<usize>,
    execs: BTreeMap<String, Option<i32>>,
}

/// `state.json`, `exit.json` and the directory of the run.
#[derive(Debug, Default)]
struct Files {
    begun: bool,
    before: Option<i32>,
    exit: Option<ExitRecord>,
    /// The run's directory; another one under the same name has another number.
    directory: Option<u32>,
    directories: u32,
    socket: Option<usize>,
    record: Option<String>,
}

/// What a daemon believes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Belief {
    Created,
    Starting(u8),
    Running,
    /// `None` for an exit that nobody saw.
    Exited(Option<i32>),
}

struct Daemon {
    belief: Belief,
    /// The exit before the start that is under way.
    before: Option<i32>,
    run: Option<Run>,
    channel: Option<usize>,
    /// Channel of a monitor that has told the exit and is cleaning up.
    ending: Option<usize>,
    attempts: u32,
    asked: BTreeSet<Request>,
    execs: BTreeMap<String, Option<i32>>,
    template_lost: bool,
}

/// A template and its two queues.
struct TemplateProcess {
    machine: Template,
    /// With the channel and the directory of a fork.
    inbox: VecDeque<(ToTemplate, Option<(usize, u32)>)>,
    outbox: VecDeque<FromTemplate>,
}

/// What was really the case.
#[derive(Default)]
struct Truth {
    runs: u32,
    /// Runs whose program executed, with the exit of its process.
    exits: BTreeMap<u32, Option<i32>>,
    /// Runs whose monitor died before it recorded the exit.
    unseen: BTreeSet<u32>,
    execs: BTreeMap<String, Option<i32>>,
}

#[derive(Default)]
struct World {
    channels: Vec<Channel>,
    monitors: Vec<MonitorProcess>,
    files: Files,
    daemon: Option<Daemon>,
    template: Option<TemplateProcess>,
    truth: Truth,
    execs: u32,
}

const UNKNOWN: i32 = 255;
const KILLED: i32 = 137;

fn record(code: i32, started_at: &str) -> ExitRecord {
    ExitRecord {
        code,
        oom_killed: false,
        finished_at: String::new(),
        started_at: started_at.to_owned(),
    }
}

impl World {
    fn step(&mut self, step: Move) {
        match step {
            Move::ClientStarts => self.client_starts(),
            Move::ClientSignals => self.client_asks(|request| ToMonitor::Signal { request, signal: 9 }),
            Move::ClientSyncs => self.client_asks(|request| ToMonitor::Sync { request }),
            Move::ClientUpgrades => self.client_asks(|request| ToMonitor::Upgrade {
                request,
                build: format!("after request {request}"),
            }),
            Move::ClientExecs => {
                self.execs += 1;
                let exec = format!("exec{}", self.execs);
                self.client_asks(|request| ToMonitor::Exec {
                    request,
                    exec,
                    attachment: None,
                });
            }
            Move::DaemonSteps => self.daemon_steps(),
            Move::TemplateSteps => self.template_steps(),
            Move::MonitorSteps(index) => self.monitor_steps(index),
            Move::ProcessEnds(code) => self.process_ends(code),
            Move::ExecEnds(code) => self.exec_ends(code),
            Move::DaemonDies => self.daemon_dies(),
            Move::DaemonStarts => self.daemon_starts(),
            Move::TemplateDies => self.template_dies(),
            Move::MonitorDies(index) => self.monitor_dies(index),
        }
        let alive = self.monitors.iter().filter(|monitor| monitor.process == Process::Alive);
        assert!(alive.count() <= 1, "the container runs twice");
    }

    // The client.

    fn client_starts(&mut self) {
        if let Some(daemon) = &mut self.daemon
            && daemon.run.is_none()
            && matches!(daemon.belief, Belief::Created | Belief::Exited(_))
        {
            daemon.before = match daemon.belief {
                Belief::Exited(code) => Some(code.unwrap_or(UNKNOWN)),
                _ => None,
            };
            daemon.belief = Belief::Starting(0);
            daemon.attempts = 0;
        }
    }

    fn client_asks(&mut self, message: impl FnOnce(Request) -> ToMonitor) {
        let Some(daemon) = &mut self.daemon else { return };
        let (Some(run), Some(channel)) = (&mut daemon.run, daemon.channel) else {
            return;
        };
        let Some(request) = run.ask() else { return };
        assert!(daemon.asked.insert(request), "a number is used twice");
        if self.channels[channel].monitor_gone {
            self.daemon_hears(Event::SendFailed(request));
        } else {
            self.channels[channel].to_monitor.push_back(message(request));
        }
    }

    // The daemon.

    fn daemon_steps(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        match daemon.belief {
            // The monitor of the run before has to be gone, and what it left with it.
            Belief::Starting(0) if daemon.ending.is_some() => self.daemon_sees_the_end(),
            Belief::Starting(0) => {
                assert!(self.files.directory.is_none(), "an earlier run is in the way");
                self.files.directories += 1;
                self.files.directory = Some(self.files.directories);
                daemon.belief = Belief::Starting(1);
            }
            Belief::Starting(1) => {
                self.files.begun = true;
                self.files.before = daemon.before;
                daemon.belief = Belief::Starting(2);
            }
            Belief::Starting(2) => {
                self.files.exit = None;
                daemon.belief = Belief::Starting(3);
            }
            Belief::Starting(3) => self.daemon_forks(),
            _ => self.daemon_receives(),
        }
    }

    fn daemon_forks(&mut self) {
        let template = self.template.get_or_insert_with(|| TemplateProcess {
            machine: Template::default(),
            inbox: VecDeque::from([(ToTemplate::Hello { version: VERSION }, None)]),
            outbox: VecDeque::new(),
        });
        self.channels.push(Channel::default());
        let channel = self.channels.len() - 1;
        template.inbox.push_back((
            ToTemplate::Fork { request: 1 },
            Some((channel, self.files.directory.unwrap())),
        ));
        let daemon = self.daemon.as_mut().unwrap();
        daemon.belief = Belief::Starting(4);
        daemon.template_lost = false;
        daemon.run = Some(Run::launch());
        daemon.channel = Some(channel);
        daemon.asked.clear();
    }

    fn daemon_receives(&mut self) {
        let daemon = self.daemon.as_mut().unwrap();
        if let Some(message) = self.template.as_mut().and_then(|template| template.outbox.pop_front()) {
            return match message {
                FromTemplate::Hello { .. } => {}
                FromTemplate::Forked { .. } => self.daemon_hears(Event::Forked),
                FromTemplate::ForkFailed { message, .. } => self.daemon_hears(Event::ForkFailed(message)),
            };
        }
        if std::mem::take(&mut daemon.template_lost) {
            return self.daemon_hears(Event::TemplateLost);
        }
        let Some(channel) = daemon.channel else {
            return self.daemon_sees_the_end();
        };
        if let Some(message) = self.channels[channel].to_daemon.pop_front() {
            self.daemon_hears(Event::Message(message));
        } else if self.channels[channel].monitor_gone {
            daemon.channel = None;
            self.daemon_hears(Event::ChannelEnded);
        }
    }

    fn daemon_sees_the_end(&mut self) {
        let daemon = self.daemon.as_mut().unwrap();
        if daemon.ending.is_some_and(|channel| self.channels[channel].monitor_gone) {
            daemon.ending = None;
            self.clean();
        }
    }

    fn daemon_hears(&mut self, event: Event) {
        let daemon = self.daemon.as_mut().unwrap();
        let Some(run) = &mut daemon.run else { return };
        for news in run.on(event) {
            self.daemon_learns(news);
        }
    }

    fn daemon_learns(&mut self, news: News) {
        let daemon = self.daemon.as_mut().unwrap();
        match news {
            News::Started { execs, .. } => {
                daemon.belief = Belief::Running;
                for exec in execs {
                    daemon.execs.insert(exec.exec, exec.code);
                }
            }
            News::Done { request } | News::Refused { request, .. } | News::Unanswered { request } => {
                assert!(daemon.asked.remove(&request), "{request} is answered and was not asked");
            }
            News::ExecStarted { request, exec, .. } => {
                assert!(daemon.asked.remove(&request), "{request} is answered and was not asked");
                daemon.execs.insert(exec, None);
            }
            News::ExecFailed { request, .. } => {
                assert!(daemon.asked.remove(&request), "{request} is answered and was not asked");
            }
            News::ExecEnded { exec, code } => {
                daemon.execs.insert(exec, Some(code));
            }
            News::Exited(record) => {
                daemon.ending = daemon.channel.take();
                self.run_is_over(Belief::Exited(Some(record.code)));
            }
            News::Lost => {
                let belief = self.settle(true);
                self.run_is_over(belief);
            }
            News::NotStarted(why) => self.not_started(&why),
            News::Held { .. } | News::Detached { .. } => {}
        }
    }

    fn not_started(&mut self, why: &NotStarted) {
        let daemon = self.daemon.as_mut().unwrap();
        if !matches!(daemon.belief, Belief::Starting(_)) {
            // A monitor that was found again and is gone.
            let belief = self.settle(false);
            return self.run_is_over(belief);
        }
        daemon.attempts += 1;
        let again = *why == NotStarted::TemplateLost && daemon.attempts < 2;
        self.clean();
        if again {
            let daemon = self.daemon.as_mut().unwrap();
            daemon.belief = Belief::Starting(0);
            daemon.run = None;
            if let Some(channel) = daemon.channel.take() {
                self.channels[channel].daemon_gone = true;
            }
        } else {
            self.files.begun = false;
            let before = self.files.before;
            self.run_is_over(before.map_or(Belief::Created, |code| Belief::Exited(Some(code))));
        }
    }

    fn run_is_over(&mut self, belief: Belief) {
        let daemon = self.daemon.as_mut().unwrap();
        assert!(daemon.asked.is_empty(), "a request is never answered");
        daemon.belief = belief;
        daemon.run = None;
        if let Some(channel) = daemon.channel.take() {
            self.channels[channel].daemon_gone = true;
        }
        for code in daemon.execs.values_mut().filter(|code| code.is_none()) {
            *code = Some(KILLED);
        }
    }

    /// Kills what a dead monitor left, and removes its files.
    fn clean(&mut self) {
        for monitor in &mut self.monitors {
            if monitor.process == Process::Alive {
                monitor.process = Process::Dead(KILLED);
                self.truth.unseen.insert(monitor.run);
            }
        }
        self.files.directory = None;
        self.files.socket = None;
        self.files.record = None;
    }

    fn settle(&mut self, was_running: bool) -> Belief {
        let verdict = judge(Traces {
            begun: self.files.begun,
            this_boot: true,
            exit: self.files.exit.clone(),
            monitor: self.files.record.clone(),
        });
        self.clean();
        match verdict {
            Verdict::Ended(record) => Belief::Exited((record.code != UNKNOWN).then_some(record.code)),
            Verdict::AsBefore if !was_running => self
                .files
                .before
                .map_or(Belief::Created, |code| Belief::Exited(Some(code))),
            Verdict::AsBefore | Verdict::Unknown(_) => {
                self.files.exit = Some(record(UNKNOWN, ""));
                Belief::Exited(None)
            }
        }
    }

    fn daemon_dies(&mut self) {
        let Some(daemon) = self.daemon.take() else { return };
        if let Some(channel) = daemon.channel {
            self.channels[channel].daemon_gone = true;
        }
        // The template sees the end of its socket.
        self.template_dies();
    }

    fn daemon_starts(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        self.daemon = Some(Daemon {
            belief: Belief::Created,
            before: None,
            run: None,
            channel: None,
            ending: None,
            attempts: 0,
            asked: BTreeSet::new(),
            execs: BTreeMap::new(),
            template_lost: false,
        });
        let listener = self.files.socket.filter(|index| {
            self.files.begun && !matches!(self.monitors[*index].stage, Stage::SocketRemoved | Stage::Gone)
        });
        if let Some(index) = listener {
            self.channels.push(Channel::default());
            let channel = self.channels.len() - 1;
            self.channels[channel]
                .to_monitor
                .push_back(ToMonitor::Hello { version: VERSION });
            self.monitors[index].backlog.push_back(channel);
            let daemon = self.daemon.as_mut().unwrap();
            daemon.run = Some(Run::reconnect());
            daemon.channel = Some(channel);
        } else {
            // A monitor that has not bound its socket yet finds its directory gone.
            let belief = self.settle(false);
            self.daemon.as_mut().unwrap().belief = belief;
        }
    }

    // The template.

    fn template_steps(&mut self) {
        let Some(template) = &mut self.template else { return };
        let Some((message, fork)) = template.inbox.pop_front() else {
            return;
        };
        match template.machine.on(&message, 3) {
            Action::Greet => template.outbox.push_back(FromTemplate::Hello {
                version: VERSION,
                pid: 1,
                build: String::new(),
            }),
            Action::Fork { request } => {
                template.outbox.push_back(forked(request, Ok(2)));
                self.truth.runs += 1;
                self.monitors.push(MonitorProcess {
                    machine: Monitor::new("c".into(), String::new()),
                    stage: Stage::Born,
                    run: self.truth.runs,
                    process: Process::None,
                    channel: fork.map(|(channel, _)| channel),
                    directory: fork.map(|(_, directory)| directory),
                    backlog: VecDeque::new(),
                    execs: BTreeMap::new(),
                });
            }
            Action::Answer(_) | Action::End => panic!("the daemon greets and sends all descriptors"),
        }
    }

    fn template_dies(&mut self) {
        let Some(template) = self.template.take() else { return };
        for (channel, _) in template.inbox.into_iter().filter_map(|(_, fork)| fork) {
            self.channels[channel].monitor_gone = true;
        }
        if self.daemon.is_none() {
            return;
        }
        // What it said before its death is read first.
        let said = |message: &FromTemplate| matches!(message, FromTemplate::Forked { .. });
        if template.outbox.iter().any(said) {
            self.daemon_hears(Event::Forked);
        } else if let Some(daemon) = &mut self.daemon {
            daemon.template_lost = daemon.belief == Belief::Starting(4);
        }
    }

    // The monitors.

    /// Counted from the latest one.
    fn monitor_steps(&mut self, back: usize) {
        let Some(index) = self.monitors.len().checked_sub(back + 1) else {
            return;
        };
        match self.monitors[index].stage {
            Stage::Born => {
                if self.files.directory != self.monitors[index].directory || self.files.socket.is_some() {
                    return self.monitor_is_gone(index);
                }
                self.files.socket = Some(index);
                self.monitors[index].stage = Stage::Bound;
            }
            Stage::Bound => {
                let monitor = &mut self.monitors[index];
                monitor.stage = Stage::Cloned;
                monitor.process = Process::Alive;
                self.truth.exits.insert(monitor.run, None);
            }
            Stage::Cloned => {
                assert_eq!(
                    self.files.directory, self.monitors[index].directory,
                    "taken from a living monitor"
                );
                self.files.record = Some(format!("run {}", self.monitors[index].run));
                self.monitors[index].stage = Stage::Recorded;
            }
            Stage::Recorded => {
                let started_at = format!("run {}", self.monitors[index].run);
                self.monitors[index].stage = Stage::Serving;
                self.monitor_hears(index, Input::Started { pid: 3, started_at });
            }
            Stage::Serving => self.monitor_serves(index),
            Stage::ExitRecorded => {
                if self.files.directory == self.monitors[index].directory {
                    self.files.socket = None;
                }
                self.monitors[index].stage = Stage::SocketRemoved;
            }
            Stage::SocketRemoved => {
                if self.files.directory == self.monitors[index].directory {
                    self.files.record = None;
                }
                self.monitor_is_gone(index);
            }
            Stage::Gone => {}
        }
    }

    fn monitor_serves(&mut self, index: usize) {
        let monitor = &mut self.monitors[index];
        if let Process::Dead(code) = monitor.process {
            let exit = record(code, &format!("run {}", monitor.run));
            monitor.stage = Stage::ExitRecorded;
            self.files.exit = Some(exit.clone());
            return self.monitor_hears(index, Input::Ended(exit));
        }
        if let Some(newcomer) = monitor.backlog.pop_front() {
            let Some(greeting) = self.channels[newcomer].to_monitor.pop_front() else {
                return;
            };
            let outputs = monitor.machine.on(Input::Greeting(greeting));
            if outputs.contains(&Output::TakeOver) {
                if let Some(earlier) = monitor.channel.replace(newcomer) {
                    self.channels[earlier].monitor_gone = true;
                }
            } else {
                self.channels[newcomer].monitor_gone = true;
            }
            return self.monitor_does(index, outputs);
        }
        let Some(channel) = monitor.channel else { return };
        if let Some(message) = self.channels[channel].to_monitor.pop_front() {
            self.monitor_hears(index, Input::Message { message, fds: 1 });
        } else if self.channels[channel].daemon_gone {
            monitor.channel = None;
            self.monitor_hears(index, Input::DaemonLost);
        }
    }

    fn monitor_hears(&mut self, index: usize, input: Input) {
        let outputs = self.monitors[index].machine.on(input);
        self.monitor_does(index, outputs);
    }

    fn monitor_does(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Tell(message) => {
                    let channel = self.monitors[index].channel.unwrap();
                    self.channels[channel].to_daemon.push_back(message);
                }
                Output::Signal { request, .. } => {
                    if self.monitors[index].process == Process::Alive {
                        self.end_process(index, KILLED);
                    }
                    let outcome = Ok(());
                    self.monitor_hears(index, Input::Settled { request, outcome });
                }
                Output::Exec { request, exec, .. } => {
                    self.monitors[index].execs.insert(exec.clone(), None);
                    self.truth.execs.insert(exec.clone(), None);
                    self.monitor_hears(index, Input::ExecStarted { request, exec, pid: 9 });
                }
                Output::Upgrade { request, build } => {
                    let memory = self.monitors[index].machine.memory().unwrap();
                    let written = serde_json::to_string(&memory).unwrap();
                    let read = serde_json::from_str(&written).unwrap();
                    self.monitors[index].machine = Monitor::resume(read, build);
                    let outcome = Ok(());
                    self.monitor_hears(index, Input::Settled { request, outcome });
                }
                Output::TakeOver | Output::SendAway => {}
                output => panic!("not in this model: {output:?}"),
            }
        }
    }

    fn monitor_is_gone(&mut self, index: usize) {
        let monitor = &mut self.monitors[index];
        monitor.stage = Stage::Gone;
        for channel in monitor.channel.take().into_iter().chain(monitor.backlog.drain(..)) {
            self.channels[channel].monitor_gone = true;
        }
    }

    fn monitor_dies(&mut self, back: usize) {
        let Some(index) = self.monitors.len().checked_sub(back + 1) else {
            return;
        };
        let monitor = &self.monitors[index];
        match monitor.stage {
            Stage::Gone => return,
            Stage::ExitRecorded | Stage::SocketRemoved => {}
            _ => {
                self.truth.unseen.insert(monitor.run);
            }
        }
        self.monitor_is_gone(index);
    }

    // The container's processes.

    fn end_process(&mut self, index: usize, code: i32) {
        let monitor = &mut self.monitors[index];
        monitor.process = Process::Dead(code);
        self.truth.exits.insert(monitor.run, Some(code));
        for (exec, _) in monitor.execs.iter().filter(|(_, code)| code.is_none()) {
            self.truth.execs.insert(exec.clone(), Some(KILLED));
        }
    }

    fn process_ends(&mut self, code: i32) {
        let alive = |monitor: &MonitorProcess| monitor.process == Process::Alive;
        if let Some(index) = self.monitors.iter().position(alive) {
            self.end_process(index, code);
        }
    }

    fn exec_ends(&mut self, code: i32) {
        for index in 0..self.monitors.len() {
            let monitor = &mut self.monitors[index];
            if monitor.stage != Stage::Serving || monitor.process != Process::Alive {
                continue;
            }
            let Some((exec, state)) = monitor.execs.iter_mut().find(|(_, state)| state.is_none()) else {
                continue;
            };
            *state = Some(code);
            let exec = exec.clone();
            self.truth.execs.insert(exec.clone(), Some(code));
            return self.monitor_hears(index, Input::ExecEnded { exec, code });
        }
    }

    // The end.

    /// Everybody moves until nobody has anything to do, under a daemon that lives.
    fn rest(&mut self) {
        self.daemon_starts();
        for _ in 0..100 {
            self.step(Move::DaemonSteps);
            self.step(Move::TemplateSteps);
            for back in 0..self.monitors.len() {
                self.step(Move::MonitorSteps(back));
            }
        }
    }

    fn check(&self) {
        let daemon = self.daemon.as_ref().unwrap();
        let alive = self.monitors.iter().find(|monitor| monitor.process == Process::Alive);
        assert!(daemon.asked.is_empty(), "a request is never answered");
        if daemon.belief == Belief::Running {
            let alive = alive.expect("the daemon believes in a container that does not run");
            for (exec, code) in &alive.execs {
                // One whose request was cut off with its daemon is known from the greeting.
                assert_eq!(daemon.execs.get(exec), Some(code), "{exec}");
            }
        } else {
            assert!(
                alive.is_none(),
                "a container runs, and the daemon believes {:?}",
                daemon.belief
            );
            let clean = self.files.directory.is_none() && self.files.socket.is_none() && self.files.record.is_none();
            assert!(clean, "files of a run are left: {:?}", self.files);
        }
        // The latest run that executed its program.
        let latest = self.truth.exits.iter().next_back();
        let unseen = latest.is_some_and(|(run, _)| self.truth.unseen.contains(run));
        match (&daemon.belief, latest) {
            (Belief::Starting(_), _) => panic!("a start never ends"),
            (Belief::Exited(Some(code)), Some((_, Some(truth)))) if !unseen => {
                assert_eq!(code, truth, "the exit is another one");
            }
            (Belief::Exited(Some(code)), _) if !unseen => panic!("an exit with {code} is made up"),
            (Belief::Exited(None), _) => assert!(unseen, "an exit that was recorded is called unknown"),
            (Belief::Created, Some(_)) => assert!(unseen, "a container that ran is called created"),
            _ => {}
        }
        for (exec, code) in &daemon.execs {
            if let (Some(code), Some(Some(truth))) = (code, self.truth.execs.get(exec)) {
                assert!(
                    code == truth || *code == KILLED,
                    "{exec} ended with {truth}, not {code}"
                );
            }
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("CONEX_MODEL_CASES").map_or(20_000, |cases| cases.parse().unwrap());
    ProptestConfig {
        cases,
        max_shrink_iters: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_the_daemon_believes_is_what_happened(schedule in proptest::collection::vec(moves(), 1..160)) {
        let mut world = World::default();
        world.daemon_starts();
        world.step(Move::ClientStarts);
        for step in schedule {
            world.step(step);
        }
        world.rest();
        world.check();
    }
}

#[test]
fn the_plain_way_starts_runs_execs_and_ends() {
    let mut world = World::default();
    world.daemon_starts();
    world.step(Move::ClientStarts);
    world.rest();
    assert_eq!(world.daemon.as_ref().unwrap().belief, Belief::Running);
    world.step(Move::ClientExecs);
    world.rest();
    world.step(Move::ExecEnds(7));
    world.step(Move::ClientSyncs);
    world.rest();
    assert_eq!(world.daemon.as_ref().unwrap().execs["exec1"], Some(7));
    world.step(Move::ProcessEnds(3));
    world.rest();
    assert_eq!(world.daemon.as_ref().unwrap().belief, Belief::Exited(Some(3)));
    world.check();
}
