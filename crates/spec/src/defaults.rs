//! What every container has: mounts, devices, links, and the paths that are hidden from it. As Docker 28 sets them.

use std::path::PathBuf;

use crate::facts::HostFacts;
use crate::plan::{AttributeChange, Device, DeviceRule, Mount, MountAttributes, MountSource, Step};

/// Size of `/dev/shm` when the client names none: 64 MiB.
pub const SHM_SIZE: u64 = 64 << 20;

/// File mode creation mask of a container's processes.
pub const UMASK: u32 = 0o022;

/// Paths hidden from a container, as `docker inspect` shows them in `HostConfig.MaskedPaths`.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container may read but not write, as in `HostConfig.ReadonlyPaths`.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The masked paths on this host: the table and the thermal counters of its CPUs.
pub fn masked_paths(facts: &HostFacts) -> Vec<PathBuf> {
    MASKED_PATHS
        .iter()
        .map(PathBuf::from)
        .chain(facts.thermal_throttle.iter().cloned())
        .collect()
}

/// The read-only paths.
pub fn readonly_paths() -> Vec<PathBuf> {
    READONLY_PATHS.iter().map(PathBuf::from).collect()
}

/// What differs between containers in the default mounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MountChoices {
    /// `/sys` and the cgroups writable.
    pub(crate) writable_sys: bool,
    /// The cgroups writable.
    pub(crate) writable_cgroups: bool,
    /// `/dev/shm`, `None` where it comes from elsewhere or is not wanted.
    pub(crate) shm_size: Option<u64>,
}

const NO_SUID: MountAttributes = MountAttributes {
    read_only: false,
    no_suid: true,
    no_dev: false,
    no_exec: false,
    strict_atime: false,
    no_atime: false,
    recursive: false,
    more: AttributeChange::NONE,
    tree: AttributeChange::NONE,
};
const NO_SUID_EXEC: MountAttributes = MountAttributes {
    no_exec: true,
    ..NO_SUID
};
const NO_SUID_DEV_EXEC: MountAttributes = MountAttributes {
    no_dev: true,
    ..NO_SUID_EXEC
};

/// The mounts that every container has, in the order of their nesting.
pub(crate) fn mounts(choices: MountChoices) -> Vec<Mount> {
    let mut mounts = vec![
        file_system("/proc", "proc", "proc", "", NO_SUID_DEV_EXEC),
        file_system(
            "/dev",
            "tmpfs",
            "tmpfs",
            "mode=755,size=65536k",
            MountAttributes {
                strict_atime: true,
                ..NO_SUID
            },
        ),
        file_system(
            "/dev/pts",
            "devpts",
            "devpts",
            "newinstance,ptmxmode=0666,mode=0620,gid=5",
            NO_SUID_EXEC,
        ),
        file_system(
            "/sys",
            "sysfs",
            "sysfs",
            "",
            MountAttributes {
                read_only: !choices.writable_sys,
                ..NO_SUID_DEV_EXEC
            },
        ),
        Mount {
            attributes: MountAttributes {
                read_only: !choices.writable_sys && !choices.writable_cgroups,
                ..NO_SUID_DEV_EXEC
            },
            ..Mount::new("/sys/fs/cgroup", MountSource::Cgroup)
        },
        file_system("/dev/mqueue", "mqueue", "mqueue", "", NO_SUID_DEV_EXEC),
    ];
    if let Some(size) = choices.shm_size {
        mounts.push(file_system(
            "/dev/shm",
            "tmpfs",
            "shm",
            &format!("mode=1777,size={size}"),
            NO_SUID_DEV_EXEC,
        ));
    }
    mounts
}

fn file_system(target: &str, kind: &str, source: &str, options: &str, attributes: MountAttributes) -> Mount {
    let source = MountSource::FileSystem {
        kind: kind.to_string(),
        source: source.to_string(),
        options: options.to_string(),
    };
    Mount {
        attributes,
        ..Mount::new(target, source)
    }
}

/// Character devices that every container has: path, major and minor number (`devices.txt` of the kernel).
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// Links of `/dev`: the runtime specification's "Default symlinks", and `core` as every runtime has it.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// The device nodes that every container has.
pub(crate) fn devices() -> Vec<Device> {
    DEVICES
        .iter()
        .map(|(path, major, minor)| Device {
            target: PathBuf::from(path),
            kind: 'c',
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            source: None,
        })
        .collect()
}

/// The links that every container has; `core` only where the kernel has what it leads to.
pub(crate) fn links(facts: &HostFacts) -> Vec<Step> {
    let present = |contents: &str| !facts.absent_paths.iter().any(|path| path.as_os_str() == contents);
    LINKS
        .iter()
        .filter(|(_, contents)| present(contents))
        .map(|(target, contents)| Step::Symlink {
            target: PathBuf::from(target),
            contents: PathBuf::from(contents),
        })
        .collect()
}

/// Rules of the device controller that every container has: everything is denied but making nodes, the default devices,
/// terminals, and `/dev/net/tun`, whose node is made by who wants it (runc 1.2.4 came back to it), and which needs `NET_ADMIN`.
pub fn device_rules() -> Vec<DeviceRule> {
    let mut rules = vec![
        rule(false, 'a', None, None, "rwm"),
        rule(true, 'c', None, None, "m"),
        rule(true, 'b', None, None, "m"),
    ];
    rules.extend(
        DEVICES
            .iter()
            .map(|(_, major, minor)| rule(true, 'c', Some(*major), Some(*minor), "rwm")),
    );
    // The console, the multiplexer of pseudo-terminals and their slaves.
    rules.push(rule(true, 'c', Some(5), Some(1), "rwm"));
    rules.push(rule(true, 'c', Some(5), Some(2), "rwm"));
    rules.push(rule(true, 'c', Some(136), None, "rwm"));
    rules.push(rule(true, 'c', Some(10), Some(200), "rwm"));
    rules
}

/// The one rule of a privileged container.
pub fn allow_all_devices() -> Vec<DeviceRule> {
    vec![rule(true, 'a', None, None, "rwm")]
}

fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major,
        minor,
        access: access.to_string(),
    }
}
