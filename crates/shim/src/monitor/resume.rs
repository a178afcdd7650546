//! A monitor whose program was another until now.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_cgroup::Cgroup;
use conex_log::Rest;
use conex_protocol::handover::{self, Handover};
use conex_protocol::message::Request;
use conex_protocol::monitor::{self, Input};
use conex_sys::descriptor::Inherited;
use conex_sys::seqpacket::{Listener, Socket};
use conex_sys::{failpoint, memfd, process, signal};

use crate::monitor::detach::Detach;
use crate::monitor::events::{Events, READ, Source};
use crate::monitor::log::Log;
use crate::monitor::memory::KernelLog;
use crate::monitor::run_dir::RunDir;
use crate::monitor::state::{self, Client, Monitor, Order, Process};

/// Takes over what a handover describes; its descriptor has this number.
pub(crate) fn resume(number: &str, build: String) -> io::Result<(Monitor, Request)> {
    process::set_dumpable(false)?;
    let mut fds = Inherited::collect()?;
    let number = number.parse().map_err(io::Error::other)?;
    let bytes = memfd::read(fds.take(number)?.as_fd())?;
    let handover: Handover = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    drop(bytes);
    if !handover.is_spoken() {
        let version = handover.version;
        return Err(io::Error::other(format!(
            "a handover of version {version} is not known"
        )));
    }
    let request = handover.request;
    Ok((take(handover, &mut fds, build)?, request))
}

impl Monitor {
    /// Goes on: the daemon is answered, and what happened between the programs is made up for.
    pub(crate) fn go_on(&mut self, request: Request) -> io::Result<()> {
        failpoint::hit("monitor.after-upgrade");
        self.step(Input::Settled {
            request,
            outcome: Ok(()),
        });
        let keys: Vec<u32> = self.processes.keys().copied().collect();
        for key in keys {
            self.push_input(key);
            self.resume(key);
            self.read_departed(key);
        }
        let clients: Vec<u32> = self.clients.keys().copied().collect();
        for client in clients {
            self.push_client(client);
        }
        self.reap()
    }
}

fn take(handover: Handover, fds: &mut Inherited, build: String) -> io::Result<Monitor> {
    let started_at = handover.memory.started_at.clone();
    let order = Order {
        exit_file: handover.exit_file,
        keep_stdin_open: handover.keep_stdin_open,
    };
    let cgroup = handover.cgroup.map(take_cgroup).transpose()?;
    let mut monitor = Monitor {
        order,
        run_dir: RunDir::new(fds.take(handover.directory)?),
        protocol: monitor::Monitor::resume(handover.memory, build),
        events: Events::new()?,
        daemon: None,
        newcomers: BTreeMap::new(),
        listener: None,
        // SIGCHLD has stayed blocked, so that one that came between the programs still waits.
        children: signal::child_signals()?,
        processes: BTreeMap::new(),
        clients: BTreeMap::new(),
        log: handover.log.map(|log| take_log(log, fds)).transpose()?,
        kernel_log: cgroup.as_ref().and_then(Cgroup::unit).and_then(|_| KernelLog::open()),
        cgroup,
        namespaces: take_all(&handover.namespaces, fds)?,
        started_at,
        own_pid_namespace: handover.own_pid_namespace,
        next: handover.last_number,
    };
    let listener = Listener::from(fds.take(handover.listener)?);
    monitor.events.add(&listener, Source::Listener, READ)?;
    monitor.listener = Some(listener);
    monitor.events.add(&monitor.children, Source::Children, READ)?;
    if let Some(daemon) = handover.daemon {
        monitor.serve_daemon(Socket::from(fds.take(daemon)?))?;
    }
    for newcomer in take_all(&handover.newcomers, fds)? {
        monitor.welcome(Socket::from(newcomer))?;
    }
    for process in handover.processes {
        let key = process.key;
        monitor.processes.insert(key, take_process(process, fds)?);
    }
    for client in handover.clients {
        let number = client.number;
        let client = take_client(client, fds)?;
        if !client.departed {
            monitor.events.add(&client.socket, Source::Client(number), READ)?;
        }
        monitor.clients.insert(number, client);
    }
    Ok(monitor)
}

fn take_all(numbers: &[handover::Number], fds: &mut Inherited) -> io::Result<Vec<OwnedFd>> {
    numbers.iter().map(|number| fds.take(*number)).collect()
}

fn take_log(log: handover::Log, fds: &mut Inherited) -> io::Result<Log> {
    let [stdout, stderr] = &log.held;
    let rest = Rest {
        file: File::from(fds.take(log.file)?),
        held: [bytes(stdout)?, bytes(stderr)?],
        packing: log.packing,
    };
    Log::resume(log.order, rest)
}

fn take_cgroup(cgroup: handover::Cgroup) -> io::Result<Cgroup> {
    let paths = |texts: Vec<String>| texts.into_iter().map(Into::into).collect();
    let reopened = Cgroup::reopen(paths(cgroup.directories), paths(cgroup.later)).map_err(io::Error::other)?;
    Ok(reopened.of_unit(cgroup.unit))
}

/// Its outputs count as paused until the monitor goes on.
fn take_process(process: handover::Process, fds: &mut Inherited) -> io::Result<Process> {
    let input = process.input.map(|input| {
        Ok::<_, io::Error>(state::Input {
            fd: fds.take(input.fd)?,
            waiting: bytes(&input.waiting)?,
            close: input.close,
            watched: false,
        })
    });
    let input = input.transpose()?;
    let outputs = process.outputs.into_iter().map(|output| {
        Ok::<_, io::Error>(state::Output {
            stream: output.stream,
            fd: fds.take(output.fd)?,
            paused: true,
        })
    });
    let outputs = outputs.collect::<io::Result<_>>()?;
    Ok(Process {
        exec: process.exec,
        pid: process.pid,
        pidfd: fds.take(process.pidfd)?,
        input,
        outputs,
        terminal: process.terminal,
    })
}

fn take_client(client: handover::Client, fds: &mut Inherited) -> io::Result<Client> {
    Ok(Client {
        socket: fds.take(client.socket)?,
        process: client.process,
        streams: client.attachment.streams,
        framing: client.attachment.framing,
        detach: Detach::resume(client.attachment.detach_keys, client.detach_matched),
        waiting: bytes(&client.waiting)?,
        input_ended: client.input_ended,
        finishing: client.finishing,
        departed: client.departed,
        interest: READ,
    })
}

fn bytes(text: &str) -> io::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(io::Error::other)
}
