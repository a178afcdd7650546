//! `kill`.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

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
    let all = signal == KILL && !has_own_pids(&container.spec()?);
    // First the one that was asked for: when its children are gone it ends by itself.
    conex_sys::process::signal(pidfd.as_fd(), signal).context("send the signal")?;
    if all {
        // The kernel ends a pid namespace with its first process; here there is none.
        kill_all(&container, signal)?;
    } else if signal == KILL {
        // Version 1 delivers no signal to what is frozen.
        container.cgroup().thaw().context("unable to thaw")?;
    }
    Ok(0)
}

const KILL: i32 = 9;

fn has_own_pids(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let mut namespaces = linux
        .and_then(|linux| linux.namespaces().as_ref())
        .into_iter()
        .flatten();
    namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Pid)
}

/// Signals every process of the cgroup.
fn kill_all(container: &Container, signal: i32) -> Result<()> {
    let cgroup = container.cgroup();
    for pid in cgroup.processes().context("list the processes")? {
        // One that ended since the list was read needs no signal.
        let _ = conex_sys::process::pidfd_open(pid).and_then(|pidfd| conex_sys::process::signal(pidfd.as_fd(), signal));
    }
    if signal == KILL {
        cgroup.thaw().context("unable to thaw")?;
    }
    Ok(())
}
