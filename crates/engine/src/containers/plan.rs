//! From a container's configuration to its plans.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use conex_api_types::HostConfig;
use conex_container::{Config, ExecConfig, MountChoice};
use conex_spec::plan::{Device, ExecPlan, FdSlot, InitPlan, Stdio};
use conex_spec::security::{self, SecurityOptions};
use conex_spec::{
    ContainerPlanRequest, DeviceRequest, ExecPlanRequest, NamespaceChoice, NamespaceChoices, ProcessRequest, Ulimit,
    container_plan, exec_plan,
};
use rustix::fs::{FileType, Stat};

use crate::containers::launch::{OwnedRoot, Slots};
use crate::containers::{Container, limits, links, mounts, namespaces, resolution};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::Connection;
use crate::selinux;

/// The plan of a container's first process.
pub(crate) fn init_plan(
    engine: &Inner,
    container: &Container,
    (root, user): (OwnedRoot, Option<OwnedFd>),
    connection: &Connection,
    slots: &mut Slots,
) -> Result<InitPlan> {
    let config = &container.config;
    let host = &config.host;
    let options = security_options(engine, config)?;
    let place = engine.next_place(container).map_err(invalid)?;
    let root = match root {
        OwnedRoot::Mount(fd) => conex_spec::plan::Root::Detached(slots.add(fd)),
        OwnedRoot::Plan(root) => root,
    };
    let network = network(connection, slots)?;
    let seccomp = filter(engine, &options, container, slots)?;
    let (ipc, memory) = namespaces::ipc(engine, config, slots)?;
    let pid = namespaces::pid(engine, config, slots)?;
    let mut mounted = mounts::planned(engine, container, slots)?;
    mounted.extend(memory);
    mounted.extend(mounts::host_queues(container, ipc, slots)?);
    mounted.extend(mounts::nested(selinux::mount_label(engine, container), &options));
    let request = ContainerPlanRequest {
        facts: engine.host.facts.clone(),
        id: container.id.clone(),
        hostname: resolution::hostname(engine, container),
        domainname: config.domainname.clone(),
        root,
        root_mount_point: engine.root_mount_point.clone(),
        user_namespace: user.map(|user| slots.add(user)),
        namespaces: NamespaceChoices {
            network,
            ipc,
            pid,
            ..unshared(host)
        },
        process: process(engine, container, &options, seccomp)?,
        init: host.init.unwrap_or(engine.settings.init),
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        privileged: host.privileged,
        writable_cgroups: options.writable_cgroups,
        readonly_root: host.readonly_rootfs,
        mount_label: selinux::mount_label(engine, container).map(str::to_owned),
        tmpfs: host.tmpfs.clone().unwrap_or_default(),
        shm_size: u64::try_from(host.shm_size).ok().filter(|size| *size > 0),
        ulimits: ulimits(config),
        sysctls: host.sysctls.clone().unwrap_or_default(),
        masked_paths: paths(host.masked_paths.as_ref()),
        readonly_paths: paths(host.readonly_paths.as_ref()),
        devices: devices(config)?,
        device_cgroup_rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        mounts: mounted,
        resources: limits::resources(host)?,
        cgroup_path: place.path,
        scope: place.scope,
        oom_score_adj: i32::try_from(host.oom_score_adj).ok().filter(|score| *score != 0),
        hold: false,
    };
    container_plan(&request).map_err(invalid)
}

/// The filter of a container's system calls, if it has one.
fn filter(
    engine: &Inner,
    options: &SecurityOptions,
    container: &Container,
    slots: &mut Slots,
) -> Result<Option<FdSlot>> {
    let filter = engine.seccomp.filter(options, container)?;
    Ok(filter.map(|filter| slots.add(filter)))
}

fn process(
    engine: &Inner,
    container: &Container,
    options: &SecurityOptions,
    seccomp: Option<FdSlot>,
) -> Result<ProcessRequest> {
    let config = &container.config;
    Ok(ProcessRequest {
        user: config.user.clone(),
        group_add: config.host.group_add.clone().unwrap_or_default(),
        env: environment(engine, container)?,
        argv: config.argv(),
        working_directory: config.working_dir.clone(),
        stdio: stdio(config),
        seccomp,
        apparmor: engine.apparmor.label(options, config)?,
        selinux: container.process_label().map(str::to_owned),
        no_new_privileges: options.no_new_privileges,
    })
}

fn paths(paths: Option<&Vec<String>>) -> Option<Vec<PathBuf>> {
    paths.map(|paths| paths.iter().map(PathBuf::from).collect())
}

/// The namespaces that no other container's can be.
fn unshared(host: &HostConfig) -> NamespaceChoices {
    let cgroup = Some(host.cgroupns_mode.as_str()).filter(|mode| !mode.is_empty());
    NamespaceChoices {
        // A container on the host's network has the host's name unless it is given one, in a namespace of its own.
        uts: namespace(&host.uts_mode),
        cgroup: cgroup.map(namespace),
        ..NamespaceChoices::default()
    }
}

/// What links tell, and what was asked for, which goes before it.
fn environment(engine: &Inner, container: &Container) -> Result<Vec<String>> {
    let own = container.config.env.iter().filter(|entry| entry.contains('='));
    let mut env = links::environment(engine, container)?;
    env.extend(own.cloned());
    Ok(env)
}

/// The namespace that was made for the container, or the host's.
fn network(connection: &Connection, slots: &mut Slots) -> Result<NamespaceChoice> {
    let namespace = connection
        .namespace()
        .map_err(|error| Error::new(ErrorKind::System, format!("duplicate the network namespace: {error}")))?;
    Ok(namespace.map_or(NamespaceChoice::Host, |namespace| {
        NamespaceChoice::Enter(slots.add(namespace))
    }))
}

fn stdio(config: &Config) -> Stdio {
    if config.tty {
        let [rows, columns] = config.host.console_size.unwrap_or_default();
        return Stdio::Terminal { rows, columns };
    }
    Stdio::Pipes {
        stdin: config.open_stdin,
    }
}

/// The plan of a later process.
pub(crate) fn later_plan(
    engine: &Inner,
    container: &Container,
    exec: &ExecConfig,
    (rows, columns): (u16, u16),
    slots: &mut Slots,
) -> Result<ExecPlan> {
    let config = &container.config;
    let options = security_options(engine, config)?;
    let or = |own: &str, inherited: &str| {
        if own.is_empty() {
            inherited.to_owned()
        } else {
            own.to_owned()
        }
    };
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let inherited = config
        .env
        .iter()
        .filter(|entry| !exec.env.iter().any(|own| name(own) == name(entry)));
    let env = inherited.chain(&exec.env).filter(|entry| entry.contains('='));
    let env = env.cloned().collect();
    let seccomp = filter(engine, &options, container, slots)?;
    let request = ExecPlanRequest {
        facts: engine.host.facts.clone(),
        process: ProcessRequest {
            user: or(&exec.user, &config.user),
            group_add: if exec.user.is_empty() {
                config.host.group_add.clone().unwrap_or_default()
            } else {
                Vec::new()
            },
            env,
            argv: exec.cmd.clone(),
            working_directory: or(&exec.working_dir, &config.working_dir),
            stdio: if exec.tty {
                Stdio::Terminal { rows, columns }
            } else {
                Stdio::Pipes {
                    stdin: exec.attach_stdin,
                }
            },
            seccomp,
            apparmor: engine.apparmor.label(&options, config)?,
            selinux: container.process_label().map(str::to_owned),
            no_new_privileges: options.no_new_privileges,
        },
        hostname: resolution::hostname(engine, container),
        cap_add: config.host.cap_add.clone().unwrap_or_default(),
        cap_drop: config.host.cap_drop.clone().unwrap_or_default(),
        container_privileged: config.host.privileged,
        privileged: exec.privileged,
        ulimits: ulimits(config),
        oom_score_adj: i32::try_from(config.host.oom_score_adj)
            .ok()
            .filter(|score| *score != 0),
    };
    exec_plan(&request).map_err(invalid)
}

pub(crate) fn security_options(engine: &Inner, config: &Config) -> Result<SecurityOptions> {
    let options = config.host.security_opt.clone().unwrap_or_default();
    security::parse(&options, &engine.host.facts).map_err(invalid)
}

/// Refuses at creation what a plan would refuse at the start.
pub(crate) fn check(engine: &Inner, config: &Config) -> Result<()> {
    security_options(engine, config)?;
    limits::check(engine, config)?;
    let host = &config.host;
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    conex_spec::capabilities::adjust(&list(&host.cap_add), &list(&host.cap_drop), host.privileged).map_err(invalid)?;
    config.mounts.iter().try_for_each(|mount| match mount {
        MountChoice::Bind {
            source, create: false, ..
        } => mounts::ensure_source(source, false),
        _ => Ok(()),
    })
}

pub(crate) fn invalid(error: conex_spec::Error) -> Error {
    Error::new(ErrorKind::InvalidParameter, error.to_string())
}

/// A namespace that no other container's can be.
fn namespace(mode: &str) -> NamespaceChoice {
    if mode == "host" {
        NamespaceChoice::Host
    } else {
        NamespaceChoice::New
    }
}

fn ulimits(config: &Config) -> Vec<Ulimit> {
    let limits = config.host.ulimits.iter().flatten();
    limits
        .map(|limit| Ulimit {
            name: limit.name.clone(),
            soft: limit.soft,
            hard: limit.hard,
        })
        .collect()
}

/// Devices of the host, with the numbers and the mode that they have there.
pub(crate) fn devices(config: &Config) -> Result<Vec<DeviceRequest>> {
    if config.host.privileged {
        return Ok(Vec::new());
    }
    config
        .devices
        .iter()
        .map(|mapping| {
            let path = mapping.path_on_host.as_str();
            let failed = |reason: &dyn std::fmt::Display| {
                Error::new(
                    ErrorKind::InvalidParameter,
                    format!("error gathering device information while adding custom device \"{path}\": {reason}"),
                )
            };
            let stat = rustix::fs::stat(path).map_err(|error| failed(&error))?;
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::CharacterDevice => 'c',
                FileType::BlockDevice => 'b',
                _ => return Err(failed(&"not a device node")),
            };
            let target = if mapping.path_in_container.is_empty() {
                path
            } else {
                &mapping.path_in_container
            };
            let access = if mapping.cgroup_permissions.is_empty() {
                "rwm"
            } else {
                &mapping.cgroup_permissions
            };
            Ok(DeviceRequest {
                device: Device {
                    source: (target != path).then(|| PathBuf::from(path)),
                    ..device(target, kind, &stat)
                },
                access: access.to_owned(),
            })
        })
        .collect()
}

fn device(target: &str, kind: char, stat: &Stat) -> Device {
    Device {
        target: PathBuf::from(target),
        kind,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        source: None,
    }
}

/// A plan in a sealed memfd, and the descriptors that it names.
pub(crate) fn seal_exec(plan: &ExecPlan, slots: Slots) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    Ok((super::launch::seal("exec-plan", plan)?, slots.into_fds()))
}
