//! The template: waits for orders and forks monitors. It keeps nothing, so it may die at any time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_protocol::message::{FromTemplate, VERSION};
use conex_protocol::template::{Action, Template, forked};
use conex_protocol::{decode, encode};
use conex_sys::failpoint;
use conex_sys::process::{self, CloneRequest, Cloned, SingleThreaded};
use conex_sys::seqpacket::Socket;

use crate::{monitor, sealed};

/// Serves the daemon on standard input until it is gone.
pub(crate) fn run() -> io::Result<()> {
    let Some(build) = sealed::build() else {
        return Err(sealed::reexecute(&["template"]));
    };
    process::set_dumpable(false)?;
    conex_sys::signal::forget()?;
    conex_sys::chroot::settle()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Monitors that end are nobody's business here.
    conex_sys::signal::ignore_children();
    conex_launch::warm()?;
    let daemon = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    rustix::io::fcntl_setfd(&daemon, rustix::io::FdFlags::CLOEXEC)?;
    let proof = SingleThreaded::verify()?;
    let mut template = Template::default();
    while let Some((bytes, fds)) = daemon.receive()? {
        match template.on(&decode(&bytes).map_err(io::Error::other)?, fds.len()) {
            Action::Greet => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                let hello = FromTemplate::Hello {
                    version: VERSION,
                    pid,
                    build: build.clone(),
                };
                tell(&daemon, &hello, Some(&sealed::program()?))?;
            }
            Action::Fork { request } => {
                failpoint::hit("template.before-fork");
                match process::clone(&proof, &CloneRequest::default()) {
                    Ok(Cloned::Child) => {
                        drop(daemon);
                        monitor::run(fds, build)
                    }
                    Ok(Cloned::Parent { pid, pidfd }) => {
                        failpoint::hit("template.after-fork");
                        tell(&daemon, &forked(request, Ok(pid)), Some(&pidfd))?;
                    }
                    Err(error) => {
                        let why = format!("fork a monitor: {error}");
                        tell(&daemon, &forked(request, Err(why)), None)?;
                    }
                }
            }
            Action::Answer(message) => tell(&daemon, &message, None)?,
            Action::End => break,
        }
    }
    Ok(())
}

fn tell(daemon: &Socket, message: &FromTemplate, fd: Option<&OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    daemon.send(&encode(message).map_err(io::Error::other)?, &fds)
}
