//! The bundles of the tests by name: what each changes in the plain specification.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle;

/// A bundle.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) change: fn(&mut Value),
    /// What is done to the bundle's directory before it is run.
    pub(crate) prepare: fn(&Path),
}

/// All of them.
pub(crate) const ALL: &[Named] = &[
    named("plain", |_| {}),
    named("docker", bundle::docker),
    named("user-under-a-filter", user_under_a_filter),
    named("made-directory", made_directory),
    named("mounts", mounts),
    named("limits", limits),
    named("writable", |specification| {
        specification["root"]["readonly"] = json!(false)
    }),
    named("capabilities", capabilities),
    named("devices", devices),
    named("parameters", parameters),
    named("rlimits", rlimits),
    named("private-root", |specification| {
        specification["linux"]["rootfsPropagation"] = json!("private");
    }),
    named("namespaces-of-the-host", namespaces_of_the_host),
    named("cgroup-namespace", |specification| {
        add_namespace(specification, "cgroup")
    }),
    named("time-namespace", time_namespace),
    named("personality", |specification| {
        specification["linux"]["personality"] = json!({"domain": "LINUX32"});
    }),
    Named {
        name: "user-namespace",
        change: user_namespace,
        prepare: give,
    },
    named("scheduled", |specification| {
        specification["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
        specification["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    }),
    named("mount-options", mount_options),
    named("nothing-masked", |specification| {
        specification["linux"]["maskedPaths"] = json!([]);
        specification["linux"]["readonlyPaths"] = json!([]);
    }),
];

const fn named(name: &'static str, change: fn(&mut Value)) -> Named {
    Named {
        name,
        change,
        prepare: |_| {},
    }
}

/// A user with groups, a umask and a score, without `noNewPrivileges`, so that the filter comes first.
pub(crate) fn user_under_a_filter(specification: &mut Value) {
    specification["process"]["user"] = json!({"uid": 1000, "gid": 100, "additionalGids": [5, 20], "umask": 63});
    specification["process"]["noNewPrivileges"] = json!(false);
    specification["process"]["oomScoreAdj"] = json!(100);
    specification["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    });
}

/// A working directory that has to be made.
pub(crate) fn made_directory(specification: &mut Value) {
    specification["process"]["cwd"] = json!("/tmp/made");
    specification["root"]["readonly"] = json!(false);
}

/// Mounts of a directory, a file and a new file system.
pub(crate) fn mounts(specification: &mut Value) {
    let list = specification["mounts"].as_array_mut().unwrap();
    list.push(
        json!({"destination": "/data", "type": "bind", "source": "/usr/share", "options": ["rbind", "ro", "nosuid"]}),
    );
    list.push(json!({"destination": "/etc/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}));
    list.push(json!({"destination": "/scratch", "type": "tmpfs", "source": "x", "options": ["noexec", "size=64k"]}));
    specification["root"]["readonly"] = json!(false);
}

/// Limits of the cgroup.
pub(crate) fn limits(specification: &mut Value) {
    specification["linux"]["resources"]["memory"] = json!({"limit": 67_108_864});
    specification["linux"]["resources"]["pids"] = json!({"limit": 50});
    specification["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 20000, "period": 100_000});
}

/// A user who keeps capabilities by the ambient set, one of which is not inheritable.
fn capabilities(specification: &mut Value) {
    let some = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    specification["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    specification["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"],
        "permitted": some, "effective": some, "inheritable": ["CAP_KILL"], "ambient": some
    });
}

/// A device with an owner, and rules for it and for others.
fn devices(specification: &mut Value) {
    specification["linux"]["devices"] = json!([
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8}
    ]);
    specification["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": true, "type": "b", "major": 7, "access": "r"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}
    ]);
}

/// Parameters of the kernel in the container's own namespaces.
fn parameters(specification: &mut Value) {
    specification["linux"]["sysctl"] =
        json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "1048576", "fs.mqueue.msg_max": "20"});
}

fn rlimits(specification: &mut Value) {
    specification["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "hard": 512, "soft": 256},
        {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
        {"type": "RLIMIT_NPROC", "hard": 100, "soft": 100},
        {"type": "RLIMIT_STACK", "hard": 8_388_608, "soft": 1_048_576}
    ]);
}

/// Only the mounts are the container's own.
fn namespaces_of_the_host(specification: &mut Value) {
    specification["linux"]["namespaces"] = json!([{"type": "mount"}]);
    specification.as_object_mut().unwrap().remove("hostname");
}

fn add_namespace(specification: &mut Value, kind: &str) {
    let list = specification["linux"]["namespaces"].as_array_mut().unwrap();
    list.push(json!({"type": kind}));
}

fn time_namespace(specification: &mut Value) {
    add_namespace(specification, "time");
    specification["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000}});
}

/// First id of the user namespaces on the host.
const FIRST: u32 = 100_000;

fn user_namespace(specification: &mut Value) {
    add_namespace(specification, "user");
    let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
    specification["linux"]["uidMappings"] = map.clone();
    specification["linux"]["gidMappings"] = map;
}

/// Gives the root to the namespace's root, and opens the way to it, as runc wants it.
fn give(directory: &Path) {
    fn to_root(path: &Path) {
        lchown(path, Some(FIRST), Some(FIRST)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path)
                .unwrap()
                .for_each(|entry| to_root(&entry.unwrap().path()));
        }
    }
    to_root(&directory.join("rootfs"));
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Propagation, times of access, recursion, and a mount over a mount.
fn mount_options(specification: &mut Value) {
    let tmpfs =
        |place: &str, options: Value| json!({"destination": place, "type": "tmpfs", "source": "t", "options": options});
    let bind = |place: &str, options: Value| json!({"destination": place, "type": "bind", "source": "/usr/share", "options": options});
    let more = [
        tmpfs("/dev/a", json!(["noatime", "mode=700", "size=1m"])),
        tmpfs("/dev/a/b", json!(["nodiratime", "nodev", "strictatime"])),
        bind("/dev/c", json!(["bind", "private", "noexec"])),
        bind("/dev/d", json!(["rbind", "rslave", "ro"])),
        bind("/dev/e", json!(["rbind", "rshared"])),
        bind("/dev/f", json!(["bind", "unbindable"])),
        tmpfs("/dev/a", json!(["ro"])),
    ];
    specification["mounts"].as_array_mut().unwrap().extend(more);
}
