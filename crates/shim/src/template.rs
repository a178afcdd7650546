//! The template: waits for orders and forks monitors. It keeps nothing, so it may die at any time.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_protocol::message::{FromTemplate, ToTemplate, VERSION};
use conex_protocol::{decode, encode};
use conex_sys::process::{self, CloneRequest, Cloned, ExecStrings, SingleThreaded};
use conex_sys::seqpacket::Socket;
use conex_sys::{failpoint, memfd};

use crate::monitor;

/// Set once the program runs from its sealed copy.
const SEALED: &str = "CONEX_SHIM_SEALED";

/// Serves the daemon on standard input until it is gone.
pub(crate) fn run() -> io::Result<()> {
    if std::env::var_os(SEALED).is_none() {
        return Err(reexecute());
    }
    process::set_dumpable(false)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Monitors that end are nobody's business here.
    conex_sys::signal::ignore_children();
    conex_launch::warm()?;
    let daemon = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    rustix::io::fcntl_setfd(&daemon, rustix::io::FdFlags::CLOEXEC)?;
    let proof = SingleThreaded::verify()?;
    while let Some((bytes, fds)) = daemon.receive()? {
        match decode(&bytes).map_err(io::Error::other)? {
            ToTemplate::Hello { .. } => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                tell(&daemon, &FromTemplate::Hello { version: VERSION, pid }, None)?;
            }
            ToTemplate::Fork { request } => {
                failpoint::hit("template.before-fork");
                let mut fds = fds.into_iter();
                let (Some(order), Some(channel)) = (fds.next(), fds.next()) else {
                    let message = "a fork needs an order and a channel".to_owned();
                    tell(&daemon, &FromTemplate::ForkFailed { request, message }, None)?;
                    continue;
                };
                match process::clone(&proof, &CloneRequest::default()) {
                    Ok(Cloned::Child) => {
                        drop(daemon);
                        monitor::run(order, Socket::from(channel), fds.collect())
                    }
                    Ok(Cloned::Parent { pid, pidfd }) => {
                        failpoint::hit("template.after-fork");
                        tell(&daemon, &FromTemplate::Forked { request, pid }, Some(&pidfd))?;
                    }
                    Err(error) => {
                        let message = format!("fork a monitor: {error}");
                        tell(&daemon, &FromTemplate::ForkFailed { request, message }, None)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn tell(daemon: &Socket, message: &FromTemplate, fd: Option<&OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    daemon.send(&encode(message).map_err(io::Error::other)?, &fds)
}

/// Runs the program from a sealed copy in memory: a container that breaks out cannot overwrite the host's file, and an
/// upgrade on disk does not disturb.
fn reexecute() -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        let copy = memfd::sealed("conex-shim", &fs::read("/proc/self/exe")?)?;
        let argv = ExecStrings::new(&["conex-shim".to_owned(), "template".to_owned()])?;
        let mut env: Vec<String> = std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        env.push(format!("{SEALED}=1"));
        Ok(process::execute_fd(copy.as_fd(), &argv, &ExecStrings::new(&env)?))
    };
    attempt().unwrap_or_else(|error| error)
}
