//! Seccomp agents (OCI runtime specification, "The Container Process State"): who answers for system calls of a container.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use conex_spec::oci::VERSION;
use conex_spec::seccomp::Listener;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::json;

use crate::commands::state;
use crate::container::{Container, Status};

/// Hands the listener of a process's filter to its agent.
pub(crate) fn hand_over(
    agent: &Listener,
    container: &Container,
    status: Status,
    (pid, listener): (i32, &OwnedFd),
) -> Result<()> {
    let path = agent.path.display();
    let socket = UnixStream::connect(&agent.path).with_context(|| format!("connect to the seccomp agent {path}"))?;
    let message = json!({
        "ociVersion": VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": agent.metadata,
        "state": state::document(container, status),
    });
    let text = message.to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = rustix::net::sendmsg(
        &socket,
        &[IoSlice::new(text.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    );
    sent.map(|_| ())
        .with_context(|| format!("send the listener to the seccomp agent {path}"))
}
