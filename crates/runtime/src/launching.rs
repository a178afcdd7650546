//! Making a container's first process: what `create` and `run` have in common.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use conex_cgroup::CgroupError;
use conex_launch::{Event, ProcessStdio, Reason, StartError, Started};
use conex_spec::oci::{BundleContext, BundlePlan, CgroupDriver, from_oci};
use conex_spec::plan::{Stdio, Step};
use conex_sys::userns;
use rustix::fs::Mode;

use crate::arguments::{Flag, Global, Parsed};
use crate::bundle::Bundle;
use crate::container::{Container, Record, Status, replace};
use crate::descriptors::Passed;
use crate::{console, descriptors, hooks, host, report, resctrl, rootless, seccomp_agent};

/// Flags of both commands.
pub(crate) const FLAGS: [Flag; 9] = [
    Flag::Value("bundle", Some('b')),
    Flag::Value("console-socket", None),
    Flag::Value("pid-file", None),
    Flag::Value("preserve-fds", None),
    Flag::Switch("no-pivot", None),
    Flag::Switch("no-new-keyring", None),
    Flag::Switch("detach", Some('d')),
    Flag::Switch("keep", None),
    // Who is not asked to be one is none: orphans of the container's are reaped by its first process.
    Flag::Switch("no-subreaper", None),
];

/// A container whose first process waits for `start`.
pub(crate) struct Made {
    pub(crate) container: Container,
    pub(crate) started: Started,
}

/// Makes a container up to the point where its program would be executed. On failure nothing is left.
pub(crate) fn make(global: &Global, arguments: &Parsed, detach: bool) -> Result<Made> {
    let id = arguments.only("<container-id>")?;
    let mut bundle = Bundle::load(Path::new(arguments.value("bundle").unwrap_or(".")))?;
    report::unknown_capabilities(global, &bundle.unknown);
    hooks::check(&bundle.spec)?;
    let passed = Passed::find(arguments)?;
    passed.announce(&mut bundle.spec);
    let cgroups_may_be_denied = rootless::lets_cgroups_be_denied(global);
    rootless::enter(&mut bundle.spec)?;
    let mut plan = plan(global, id, &bundle)?;
    rootless::keep_groups(&mut plan.plan.steps, userns::denies_groups(None))?;
    if cgroups_may_be_denied {
        let linux = bundle.spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        rootless::settle_cgroup(&mut plan.plan, path.is_some_and(|path| !path.as_os_str().is_empty()))?;
    }
    let keeps_keyring = arguments.is_set("no-new-keyring");
    if keeps_keyring {
        plan.plan.steps.retain(|step| !matches!(step, Step::SessionKeyring(_)));
    }
    report::debug(global, || format!("plan of {id}:\n{}", conex_spec::render(&plan.plan)));
    if arguments.is_set("no-pivot") {
        for step in plan.plan.steps.iter_mut().filter(|step| **step == Step::PivotRoot) {
            *step = Step::MoveRoot;
        }
    }
    let terminal = matches!(plan.plan.stdio, Stdio::Terminal { .. });
    console::check(terminal, arguments.value("console-socket"), detach)?;
    plan.plan.preserved = passed.count;

    let mut container = Container::reserve(
        global,
        Record {
            keeps_keyring,
            scope: plan.plan.cgroup.as_ref().and_then(|cgroup| cgroup.scope.clone()),
            ..Record::new(id, &bundle)
        },
    )?;
    let directory = container.directory.clone();
    let share = resctrl::share(&bundle.spec, id).inspect_err(|_| forget(&directory))?;
    container.record.resctrl.clone_from(&share);
    launch(container, &bundle, &plan, arguments).inspect_err(|_| {
        if let Some(share) = &share {
            let _ = share.remove();
        }
        forget(&directory);
    })
}

/// The first error is the one to tell; what is left is found by `delete --force`.
fn forget(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
}

fn plan(global: &Global, id: &str, bundle: &Bundle) -> Result<BundlePlan> {
    crate::container::validate_id(id)?;
    if global.cgroups == CgroupDriver::Systemd && !conex_cgroup::is_systemd_running() {
        return Err(CgroupError::NoSystemd.into());
    }
    let context = BundleContext {
        facts: host::probe()?,
        id: id.to_string(),
        bundle: bundle.path.clone(),
        cgroups: global.cgroups,
        await_start: true,
    };
    Ok(from_oci(&bundle.spec, &context)?)
}

fn launch(mut container: Container, bundle: &Bundle, plan: &BundlePlan, arguments: &Parsed) -> Result<Made> {
    let socket = arguments
        .value("console-socket")
        .map(|path| console::connect(Path::new(path)))
        .transpose()?;
    container.publish_text(&bundle.text)?;
    if container.record.resctrl.is_some() {
        // `delete --force` finds the group when nobody comes to the end of this.
        container.save()?;
    }
    let fifo = container.fifo();
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).context("make the start fifo")?;
    let fds = descriptors::open(&plan.descriptors, Some(&fifo))?;
    let share = container.record.resctrl.clone();
    let mut told = |pid: i32, event| {
        container.record.pid = pid;
        let done = match event {
            Event::Held => hooks::before_pivot(&bundle.spec, &container),
            Event::Listening(listener) => plan.listener.as_ref().map_or(Ok(()), |agent| {
                seccomp_agent::hand_over(agent, &container, Status::Creating, (pid, &listener))
            }),
        };
        done.map_err(|error| by_manager(&error))
    };
    let mut started = resctrl::within(share.as_ref(), || conex_launch::start(&plan.plan, &fds, &mut told))?
        .map_err(|error| failed(&error))?;
    container.record.pid = started.pid;
    match publish(&mut container, &started, socket.as_ref(), arguments) {
        Ok(()) => Ok(Made { container, started }),
        Err(error) => {
            undo(&mut started);
            Err(error)
        }
    }
}

fn publish(
    container: &mut Container,
    started: &Started,
    socket: Option<&std::os::unix::net::UnixStream>,
    arguments: &Parsed,
) -> Result<()> {
    container.record.pid_start =
        conex_sys::process::start_time(started.pid).context("read the start time of the process")?;
    if let Some(cgroup) = &started.cgroup {
        container.record.cgroup_dirs = cgroup.directories().to_vec();
    }
    if let (Some(socket), ProcessStdio::Terminal { master }) = (socket, &started.stdio) {
        console::send(socket, master)?;
    }
    container.save()?;
    if let Some(path) = arguments.value("pid-file") {
        replace(Path::new(path), started.pid.to_string().as_bytes())?;
    }
    Ok(())
}

/// Kills what was started and removes its cgroup.
fn undo(started: &mut Started) {
    // It may have ended by itself; reaping and removing are what matters, and the first error is the one to tell.
    let _ = conex_sys::process::signal(started.pidfd.as_fd(), 9);
    let _ = conex_sys::process::wait(started.pidfd.as_fd());
    if let Some(cgroup) = &mut started.cgroup {
        let _ = cgroup.kill_all();
        let _ = cgroup.remove();
    }
}

/// What a program outside said or did.
pub(crate) fn by_manager(error: &anyhow::Error) -> StartError {
    StartError {
        reason: Reason::Other,
        errno: 0,
        message: format!("{error:#}"),
    }
}

/// Managers, dockerd among them, know failures by runc's words.
pub(crate) fn failed(error: &StartError) -> anyhow::Error {
    anyhow::anyhow!("unable to start container process: {}", error.message)
}

/// Lets the waiting process go on. Fails when it is gone.
pub(crate) fn release(container: &Container) -> Result<()> {
    let fifo = container.fifo();
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    // ENXIO: nobody has it open, so the process has ended (fifo(7)).
    let opened = match rustix::fs::open(&fifo, flags, Mode::empty()) {
        Err(_) if container.cgroup().oom_killed() => {
            bail!("cannot start a container that has stopped: the limit of memory is too low for its first process")
        }
        opened => opened.context("cannot start a container that has stopped")?,
    };
    // Taken away first, so that of two starts at once one fails here.
    fs::remove_file(&fifo).context("cannot start an already running container")?;
    rustix::io::write(&opened, &[0]).context("let the process go on")?;
    Ok(())
}
