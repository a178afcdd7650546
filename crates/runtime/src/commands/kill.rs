//! `kill`.

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::{Container, Status};
use crate::signals;

const FLAGS: [Flag; 1] = [Flag::Switch("all", Some('a'))];

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let (id, signal) = match &arguments.positional[..] {
        [id] => (id, "SIGTERM"),
        [id, signal] => (id, signal.as_str()),
        others => bail!(
            "a container id and at most one signal are required, {} arguments given",
            others.len()
        ),
    };
    let signal = signals::parse(signal)?;
    let container = Container::load(global, id)?;
    if arguments.is_set("all") {
        return kill_all(&container, signal).map(|()| 0);
    }
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    let pidfd = container.pidfd()?;
    conex_sys::process::signal(pidfd.as_fd(), signal).context("send the signal")?;
    Ok(0)
}

/// Signals every process of the cgroup.
fn kill_all(container: &Container, signal: i32) -> Result<()> {
    let cgroup = container.cgroup();
    let Some(directory) = cgroup.directories().first() else {
        return Ok(());
    };
    // A cgroup that is gone has no processes.
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        // One that ended since the list was read needs no signal.
        let _ = conex_sys::process::pidfd_open(pid).and_then(|pidfd| conex_sys::process::signal(pidfd.as_fd(), signal));
    }
    Ok(())
}
