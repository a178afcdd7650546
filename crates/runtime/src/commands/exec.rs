//! `exec`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conex_cgroup::{Cgroup, Layout};
use conex_launch::{Event, ProcessStdio};
use conex_spec::oci::{BundleContext, CgroupDriver, exec_from_oci};
use conex_spec::plan::Step;
use conex_sys::userns;
use oci_spec::runtime::{Process, Spec, User};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::{Container, Status, replace};
use crate::descriptors::Passed;
use crate::{
    bundle, console, descriptors, foreground, host, launching, report, resctrl, rootless, seccomp_agent, sub_cgroups,
};

const FLAGS: [Flag; 16] = [
    Flag::Value("apparmor", None),
    Flag::Value("process-label", None),
    Flag::Value("console-socket", None),
    Flag::Value("cwd", None),
    Flag::Value("env", Some('e')),
    Flag::Switch("tty", Some('t')),
    Flag::Value("user", Some('u')),
    Flag::Value("additional-gids", Some('g')),
    Flag::Value("process", Some('p')),
    Flag::Switch("detach", Some('d')),
    Flag::Value("pid-file", None),
    Flag::Switch("no-new-privs", None),
    Flag::Value("cap", Some('c')),
    Flag::Value("preserve-fds", None),
    Flag::Value("cgroup", None),
    Flag::Switch("ignore-paused", None),
];

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    exec(global, arguments).context("exec failed")
}

fn exec(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::UpTo(1))?;
    let Some((id, argv)) = arguments.positional.split_first() else {
        bail!("a container id is required")
    };
    let container = Container::load(global, id)?;
    match container.status() {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !arguments.is_set("ignore-paused") => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => {}
    }
    let spec = container.spec()?;
    let process = process(global, &spec, &arguments, argv)?;
    let detach = arguments.is_set("detach");
    console::check(
        process.terminal().unwrap_or(false),
        arguments.value("console-socket"),
        detach,
    )?;
    let passed = Passed::counted(&arguments)?;
    execute(&container, (&spec, &process), &arguments, passed)
}

fn execute(
    container: &Container,
    (spec, process): (&Spec, &Process),
    arguments: &Parsed,
    passed: Passed,
) -> Result<u8> {
    let context = BundleContext {
        facts: host::probe()?,
        id: container.record.id.clone(),
        bundle: container.record.bundle.clone(),
        // It is there.
        cgroups: CgroupDriver::Files,
        await_start: false,
    };
    let mut planned = exec_from_oci(spec, process, &context)?;
    planned.plan.preserved = passed.count;
    let groups_are_denied = userns::denies_groups(Some(container.record.pid));
    rootless::keep_groups(&mut planned.plan.steps, groups_are_denied)?;
    if container.record.keeps_keyring {
        planned
            .plan
            .steps
            .retain(|step| !matches!(step, Step::SessionKeyring(_)));
    }
    let socket = arguments
        .value("console-socket")
        .map(|path| console::connect(Path::new(path)))
        .transpose()?;
    let fds = descriptors::open(&planned.descriptors, None)?;
    let pidfd = container.pidfd()?;
    let cgroup = cgroup(container, arguments)?;
    let mut told = |pid, event| match (event, &planned.listener) {
        (Event::Listening(listener), Some(agent)) => {
            seccomp_agent::hand_over(agent, container, Status::Running, (pid, &listener))
                .map_err(|error| launching::by_manager(&error))
        }
        _ => Ok(()),
    };
    let first = container.record.pid;
    let execed = resctrl::within(container.record.resctrl.as_ref(), || {
        conex_launch::exec(&planned.plan, first, pidfd.as_fd(), Some(&cgroup), &fds, &mut told)
    })?
    .map_err(|error| launching::failed(&error))?;
    if let Some(path) = arguments.value("pid-file") {
        replace(Path::new(path), execed.pid.to_string().as_bytes())?;
    }
    if let (Some(socket), ProcessStdio::Terminal { master }) = (&socket, &execed.stdio) {
        console::send(socket, master)?;
    }
    if arguments.is_set("detach") {
        return Ok(0);
    }
    foreground::wait(&execed.pidfd, execed.stdio)
}

/// The container's cgroup, or what the flags name below it.
fn cgroup(container: &Container, arguments: &Parsed) -> Result<Cgroup> {
    let asked: Vec<&str> = arguments.values("cgroup").collect();
    if asked.is_empty() {
        return Ok(container.cgroup().with_doors()?);
    }
    let layout = Layout::probe().context("probe the cgroups")?;
    let directories = sub_cgroups::directories(&layout, &container.record.cgroup_dirs, &asked)?;
    Ok(Cgroup::open(directories).with_doors()?)
}

/// The process from `--process`, else the container's own with what the flags change.
fn process(global: &Global, spec: &Spec, arguments: &Parsed, argv: &[String]) -> Result<Process> {
    if let Some(path) = arguments.value("process") {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        let (process, unknown) = bundle::process(&text).with_context(|| format!("parse {path}"))?;
        report::unknown_capabilities(global, &unknown);
        return Ok(process);
    }
    if argv.is_empty() {
        bail!("process args cannot be empty");
    }
    let mut process = spec.process().clone().context("the container has no process")?;
    process.set_args(Some(argv.to_vec()));
    process.set_terminal(Some(arguments.is_set("tty")));
    if let Some(cwd) = arguments.value("cwd") {
        process.set_cwd(PathBuf::from(cwd));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(arguments.values("env").map(String::from));
    process.set_env(Some(env));
    if let Some(profile) = arguments.value("apparmor") {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = arguments.value("process-label") {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if arguments.is_set("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    let mut user = process.user().clone();
    if let Some(text) = arguments.value("user") {
        set_user(&mut user, text)?;
    }
    let groups = arguments
        .values("additional-gids")
        .map(str::parse)
        .collect::<Result<Vec<u32>, _>>();
    let groups = groups.context("additional gids are numbers")?;
    if !groups.is_empty() {
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    add_capabilities(&mut process, arguments)?;
    Ok(process)
}

/// Changes the user to `uid[:gid]`; what is not said stays as it is in the container.
fn set_user(user: &mut User, text: &str) -> Result<()> {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    user.set_uid(
        uid.parse()
            .with_context(|| format!("parsing {uid} as int for uid failed"))?,
    );
    if let Some(gid) = gid {
        user.set_gid(
            gid.parse()
                .with_context(|| format!("parsing {gid} as int for gid failed"))?,
        );
    }
    Ok(())
}

/// Each `--cap` joins the bounding, effective and permitted sets, as runc has it.
fn add_capabilities(process: &mut Process, arguments: &Parsed) -> Result<()> {
    for name in arguments.values("cap") {
        let capability = serde_json::from_value(serde_json::Value::String(name.to_string()))
            .with_context(|| format!("unknown capability {name:?}"))?;
        let mut sets = process.capabilities().clone().unwrap_or_default();
        let with = |set: &Option<oci_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        sets.set_bounding(with(sets.bounding()));
        sets.set_effective(with(sets.effective()));
        sets.set_permitted(with(sets.permitted()));
        process.set_capabilities(Some(sets));
    }
    Ok(())
}
