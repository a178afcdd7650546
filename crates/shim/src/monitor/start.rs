//! From an order to a container that runs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_launch::{Event, Reason, StartError, Started};
use conex_protocol::message::{Attachment, FromMonitor, MonitorOrder, MonitorRecord, VERSION};
use conex_protocol::monitor::{self, Input, Output};
use conex_protocol::{decode, encode};
use conex_spec::plan::{InitPlan, Namespace};
use conex_sys::seqpacket::Socket;
use conex_sys::{failpoint, memfd, process};

use crate::monitor::events::{Events, READ, Source};
use crate::monitor::execs::{failure, nobody_listens};
use crate::monitor::log::Log;
use crate::monitor::memory::KernelLog;
use crate::monitor::run_dir::RunDir;
use crate::monitor::state::{FIRST, Monitor, Order};
use crate::monitor::time;

/// Starts the container. On an error everything is undone, and the daemon has been told where it could be told.
pub(crate) fn start(
    order: OwnedFd,
    channel: Socket,
    run_dir: RunDir,
    fds: Vec<OwnedFd>,
    build: String,
) -> io::Result<Monitor> {
    become_independent()?;
    let MonitorOrder {
        container,
        exit_file,
        log,
        keep_stdin_open,
        plan,
    } = read_order(order)?;
    // A daemon that has given this run up has removed the directory, and nothing is started.
    let listener = run_dir.listen()?;
    let log = log.map(Log::open).transpose()?;
    let mut protocol = monitor::Monitor::new(container.clone(), build);
    let early = early_clients(&mut protocol, &channel)?;
    // Blocked before there is a child: the signal of one that ends at once must not be lost.
    let children = conex_sys::signal::child_signals()?;

    let scope = plan.cgroup.as_ref().and_then(|cgroup| cgroup.scope.as_ref());
    let kernel_log = scope.and_then(|_| KernelLog::open());

    failpoint::hit("monitor.before-clone");
    let started_at = time::now();
    let started = launch(&plan, fds, &mut protocol, &channel, &run_dir)?;
    failpoint::hit("monitor.after-clone");
    run_dir.record(&record(&container, &started, &started_at)?)?;
    failpoint::hit("monitor.after-record");

    let pid = started.pid;
    let own_pid_namespace = plan.namespaces.contains(&Namespace::Pid);
    drop(plan);
    let mut monitor = Monitor {
        order: Order {
            exit_file,
            keep_stdin_open,
        },
        run_dir,
        protocol,
        events: Events::new()?,
        daemon: None,
        newcomers: BTreeMap::new(),
        listener: None,
        children,
        processes: BTreeMap::new(),
        clients: BTreeMap::new(),
        log,
        kernel_log,
        cgroup: started.cgroup,
        namespaces: started.namespaces,
        started_at: started_at.clone(),
        own_pid_namespace,
        next: FIRST,
    };
    monitor.events.add(&listener, Source::Listener, READ)?;
    monitor.listener = Some(listener);
    monitor.events.add(&monitor.children, Source::Children, READ)?;
    monitor.adopt(FIRST, None, (pid, started.pidfd), started.stdio)?;
    monitor.serve_daemon(channel)?;
    monitor.step(Input::Started { pid, started_at });
    for (attachment, client) in early {
        // A client that cannot be served is let go; the container runs.
        let _ = monitor.attach(FIRST, attachment, client);
    }
    Ok(monitor)
}

/// Makes the first process; where that fails, nothing of the run is left when the daemon is told.
fn launch(
    plan: &InitPlan,
    fds: Vec<OwnedFd>,
    protocol: &mut monitor::Monitor,
    channel: &Socket,
    run_dir: &RunDir,
) -> io::Result<Started> {
    let mut told = |pid, event| match event {
        Event::Held => hold(protocol, channel, pid),
        Event::Listening(_) => Err(nobody_listens()),
    };
    conex_launch::start(plan, &fds, &mut told).map_err(|error| {
        run_dir.clear();
        for output in protocol.on(Input::StartFailed(failure(&error))) {
            if let Output::Tell(message) = output {
                // A daemon that is gone is told by the channel's end.
                let _ = send(channel, &message);
            }
        }
        io::Error::other(error)
    })
}

/// What is to be done; the memfd is closed, and nothing of its text is kept.
fn read_order(order: OwnedFd) -> io::Result<MonitorOrder<InitPlan>> {
    let bytes = memfd::read(order.as_fd())?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Own session, no standard descriptors of the template's, and parent of the container's orphans.
fn become_independent() -> io::Result<()> {
    rustix::process::setsid()?;
    let null: OwnedFd = OpenOptions::new().read(true).write(true).open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    conex_sys::signal::wait_for_children();
    process::become_subreaper()
}

/// Clients that the daemon put into the channel before the fork.
fn early_clients(protocol: &mut monitor::Monitor, channel: &Socket) -> io::Result<Vec<(Attachment, OwnedFd)>> {
    let mut clients = Vec::new();
    channel.set_nonblocking(true)?;
    loop {
        match channel.receive() {
            Ok(Some((bytes, fds))) => {
                let Ok(message) = decode(&bytes) else { continue };
                let input = Input::Message {
                    message,
                    fds: fds.len(),
                };
                if let (Some(Output::Keep(attachment)), Some(client)) =
                    (protocol.on(input).pop(), fds.into_iter().next())
                {
                    clients.push((attachment, client));
                }
            }
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    channel.set_nonblocking(false)?;
    Ok(clients)
}

/// The first process waits to be placed; the daemon says when.
fn hold(protocol: &mut monitor::Monitor, channel: &Socket, pid: i32) -> Result<(), StartError> {
    let lost = |message: String| StartError {
        reason: Reason::Other,
        errno: 0,
        message,
    };
    let mut input = Input::Held { pid };
    loop {
        for output in protocol.on(input) {
            match output {
                Output::Tell(message) => send(channel, &message).map_err(|error| lost(error.to_string()))?,
                Output::Release => return Ok(()),
                _ => {}
            }
        }
        let received = channel.receive().map_err(|error| lost(error.to_string()))?;
        let (bytes, fds) = received.ok_or_else(|| lost("the daemon was lost while the process was held".into()))?;
        let message = decode(&bytes).map_err(|error| lost(error.to_string()))?;
        input = Input::Message {
            message,
            fds: fds.len(),
        };
    }
}

fn send(channel: &Socket, message: &FromMonitor) -> io::Result<()> {
    channel.send(&encode(message).map_err(io::Error::other)?, &[])
}

/// What a new daemon needs when this monitor does not answer any more.
fn record(container: &str, started: &Started, started_at: &str) -> io::Result<MonitorRecord> {
    let monitor_pid = rustix::process::getpid().as_raw_nonzero().get();
    let directories = started.cgroup.iter().flat_map(|cgroup| cgroup.directories());
    Ok(MonitorRecord {
        version: VERSION,
        container: container.to_owned(),
        monitor_pid,
        monitor_start: process::start_time(monitor_pid)?,
        pid: started.pid,
        pid_start: process::start_time(started.pid).unwrap_or(0),
        boot_id: process::boot_id()?,
        started_at: started_at.to_owned(),
        cgroup_dirs: directories.map(|directory| directory.display().to_string()).collect(),
    })
}
