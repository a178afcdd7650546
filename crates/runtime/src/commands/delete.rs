//! `delete`.

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::{Container, Status, validate_id};
use crate::{hooks, report};

const FLAGS: [Flag; 1] = [Flag::Switch("force", Some('f'))];

/// How long a killed process may take to end: it may be in an uninterruptible sleep.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let id = arguments.only("<container-id>")?;
    let force = arguments.is_set("force");
    let container = match Container::load(global, id) {
        Ok(container) => container,
        Err(_) if force => {
            validate_id(id)?;
            // What a `create` left that was killed half-way.
            let _ = fs::remove_dir_all(global.root.join(id));
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    match container.status() {
        // The specification lets only stopped ones be deleted; runc takes a created one for stopped, and so do its users.
        Status::Stopped | Status::Created | Status::Creating => {}
        Status::Running | Status::Paused if force => {}
        status => bail!("cannot delete container {id} that is not stopped: {}", status.name()),
    }
    delete(global, &container)?;
    Ok(0)
}

/// Ends what runs and removes everything.
pub(super) fn delete(global: &Global, container: &Container) -> Result<()> {
    if let Ok(pidfd) = container.pidfd() {
        // It may end by itself before the signal arrives.
        let _ = conex_sys::process::signal(pidfd.as_fd(), 9);
        // Version 1 delivers no signal to what is frozen.
        container.cgroup().thaw().context("unable to thaw")?;
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
        if poll(&mut polled, Some(&PATIENCE)).context("wait for the end of the first process")? == 0 {
            bail!("the first process does not end");
        }
    }
    let mut cgroup = container.cgroup();
    cgroup.kill_all().context("end the processes of the cgroup")?;
    cgroup.remove()?;
    if let Some(group) = &container.record.resctrl {
        group.remove()?;
    }
    if let Err(error) = container.spec().and_then(|spec| hooks::after_stop(&spec, container)) {
        // "log a warning, but ... continue".
        report::warn(global, &format!("{error:#}"));
    }
    let directory = &container.directory;
    fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
}
