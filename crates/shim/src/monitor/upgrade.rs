//! Another program in the place of this one: what is held is written down, tried, and left open across execve(2).
//!
//! ```text
//!   this program                     that program
//!   -------------------------------  ----------------------------------------------
//!   handover in a sealed memfd
//!   fork and exec ------------------> try-monitor: takes everything over, and ends
//!   execve ------------------------> monitor: takes everything over, and serves
//! ```
//!
//! A program that would not go on says so in the trial, and this one stays.

use std::convert::Infallible;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_protocol::handover::{self, Handover, Number};
use conex_protocol::message::{Attachment, Request, VERSION};
use conex_sys::descriptor::{self, proc_path};
use conex_sys::{failpoint, memfd, process};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::monitor::state::{Client, Monitor, Process};
use crate::sealed;

/// The argument that has a program take over; the number of the handover's descriptor follows.
pub(crate) const TAKE_OVER: &str = "monitor";

/// The argument that has a program see whether it would.
pub(crate) const TRY: &str = "try-monitor";

/// How long a trial may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Monitor {
    /// Executes a program in the place of this one. It returns only where that is not possible, and then everything is as
    /// it was.
    pub(crate) fn upgrade(&self, request: Request, build: &str, program: &OwnedFd) -> io::Result<Infallible> {
        let written = Written::of(self, request)?;
        let state = memfd::sealed("conex-handover", &serde_json::to_vec(&written.handover)?)?;
        let kept: Vec<BorrowedFd<'_>> = written.kept.iter().copied().chain([state.as_fd()]).collect();
        let environment = sealed::environment(build);
        for fd in &kept {
            descriptor::set_inherited(*fd, true)?;
        }
        let outcome = match attempt(program, &state, &environment) {
            Ok(()) => {
                failpoint::hit("monitor.before-upgrade");
                let number = state.as_raw_fd().to_string();
                sealed::execute(program, &[TAKE_OVER, &number], &environment)
            }
            Err(error) => Err(error),
        };
        for fd in &kept {
            descriptor::set_inherited(*fd, false)?;
        }
        Err(outcome.unwrap_or_else(|error| error))
    }
}

/// Has the program take over in a process of its own.
fn attempt(program: &OwnedFd, state: &OwnedFd, environment: &[(String, String)]) -> io::Result<()> {
    let (mut words, stderr) = io::pipe()?;
    let mut child = Command::new(proc_path(program.as_fd()))
        .arg(TRY)
        .arg(state.as_raw_fd().to_string())
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()?;
    let pidfd = process::pidfd_open(i32::try_from(child.id()).map_err(io::Error::other)?)?;
    if !has_ended(&pidfd)? {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other("the other program does not end its trial"));
    }
    let status: ExitStatus = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    words.read_to_string(&mut said)?;
    Err(io::Error::other(format!(
        "the other program would not take over ({status}): {}",
        said.trim()
    )))
}

fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    let patience = Timespec {
        tv_sec: i64::try_from(PATIENCE.as_secs()).map_err(io::Error::other)?,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&patience)))? > 0)
}

/// A handover, and the descriptors that it names.
struct Written<'a> {
    handover: Handover,
    kept: Vec<BorrowedFd<'a>>,
}

impl<'a> Written<'a> {
    fn of(monitor: &'a Monitor, request: Request) -> io::Result<Self> {
        let gone = || io::Error::other("the container has ended");
        let mut kept = Kept::default();
        let handover = Handover {
            version: VERSION,
            request,
            memory: monitor.protocol.memory().ok_or_else(gone)?,
            exit_file: monitor.order.exit_file.clone(),
            keep_stdin_open: monitor.order.keep_stdin_open,
            own_pid_namespace: monitor.own_pid_namespace,
            last_number: monitor.next,
            directory: kept.number(monitor.run_dir.as_fd()),
            listener: kept.number(monitor.listener.as_ref().ok_or_else(gone)?.as_fd()),
            daemon: monitor.daemon.as_ref().map(|daemon| kept.number(daemon.as_fd())),
            newcomers: monitor
                .newcomers
                .values()
                .map(|newcomer| kept.number(newcomer.as_fd()))
                .collect(),
            namespaces: monitor
                .namespaces
                .iter()
                .map(|namespace| kept.number(namespace.as_fd()))
                .collect(),
            cgroup: monitor.cgroup.as_ref().map(|cgroup| handover::Cgroup {
                directories: texts(cgroup.directories()),
                later: texts(cgroup.later()),
                unit: cgroup.unit().map(str::to_owned),
            }),
            log: monitor.log.as_ref().map(|log| handover::Log {
                order: log.order.clone(),
                file: kept.number(log.writer.file().as_fd()),
                held: log.writer.held().each_ref().map(|held| STANDARD.encode(held)),
                packing: log.writer.packing(),
            }),
            processes: monitor
                .processes
                .iter()
                .map(|(key, process)| kept.process(*key, process))
                .collect(),
            clients: monitor
                .clients
                .iter()
                .map(|(number, client)| kept.client(*number, client))
                .collect(),
        };
        Ok(Self { handover, kept: kept.0 })
    }
}

/// Descriptors that stay open.
#[derive(Default)]
struct Kept<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Kept<'a> {
    fn number(&mut self, fd: BorrowedFd<'a>) -> Number {
        self.0.push(fd);
        fd.as_raw_fd()
    }

    fn process(&mut self, key: u32, process: &'a Process) -> handover::Process {
        handover::Process {
            key,
            exec: process.exec.clone(),
            pid: process.pid,
            pidfd: self.number(process.pidfd.as_fd()),
            terminal: process.terminal,
            input: process.input.as_ref().map(|input| handover::Input {
                fd: self.number(input.fd.as_fd()),
                waiting: STANDARD.encode(&input.waiting),
                close: input.close,
            }),
            outputs: process
                .outputs
                .iter()
                .map(|output| handover::Output {
                    stream: output.stream,
                    fd: self.number(output.fd.as_fd()),
                })
                .collect(),
        }
    }

    fn client(&mut self, number: u32, client: &'a Client) -> handover::Client {
        let (detach_keys, detach_matched) = client.detach.parts();
        handover::Client {
            number,
            socket: self.number(client.socket.as_fd()),
            process: client.process,
            attachment: Attachment {
                streams: client.streams,
                framing: client.framing,
                preread: String::new(),
                detach_keys: detach_keys.to_vec(),
            },
            detach_matched,
            waiting: STANDARD.encode(&client.waiting),
            input_ended: client.input_ended,
            finishing: client.finishing,
            departed: client.departed,
        }
    }
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}
