//! Debian packages, installed where they are missing.

use std::fs;
use std::process::Command;

use crate::run::{Outcome, root, run};

/// What running containers needs: nft(8) for the bridge.
pub(crate) const RUN: [(&str, &str); 1] = [("/usr/sbin/nft", "nftables")];

/// What an own image and registry need.
pub(crate) const REGISTRY: [(&str, &str); 3] = [
    ("/usr/bin/docker-registry", "docker-registry"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/bin/curl", "curl"),
];

/// Runtimes that ours is held against.
pub(crate) const PEERS: [(&str, &str); 2] = [("/usr/sbin/runc", "runc"), ("/usr/bin/crun", "crun")];

/// What the tests need besides.
pub(crate) const TEST: [(&str, &str); 12] = [
    ("/usr/bin/htpasswd", "apache2-utils"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/script", "bsdutils"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/bzip2", "bzip2"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/python3", "python3"),
    ("/usr/bin/skopeo", "skopeo"),
    ("/usr/bin/podman", "podman"),
    ("/usr/bin/umoci", "umoci"),
];

/// What makes a file system in a file.
pub(crate) const FILE_SYSTEM: [(&str, &str); 4] = [
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/sbin/mkfs.btrfs", "btrfs-progs"),
    ("/usr/bin/fuse-overlayfs", "fuse-overlayfs"),
    ("/usr/bin/mount", "mount"),
];

/// What plain tools need to pull an image.
pub(crate) const FLOOR: [(&str, &str); 2] = [("/usr/bin/igzip", "isal"), ("/usr/bin/curl", "curl")];

/// What makes disks to be limited, and what counts system calls.
pub(crate) const LIMITS: [(&str, &str); 2] = [("/sbin/mkfs.ext4", "e2fsprogs"), ("/usr/bin/strace", "strace")];

/// What the virtual machine needs.
pub(crate) const VM: [(&str, &str); 4] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/sbin/depmod", "kmod"),
    ("/bin/busybox", "busybox-static"),
];

/// What makes file systems with quotas of projects, and takes files out of these.
pub(crate) const QUOTAS: [(&str, &str); 4] = [
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/usr/bin/chattr", "e2fsprogs"),
    ("/sbin/mkfs.xfs", "xfsprogs"),
    ("/usr/bin/fuse-overlayfs", "fuse-overlayfs"),
];

/// What makes a tree of Debian for it.
pub(crate) const DEBIAN: [(&str, &str); 1] = [("/usr/sbin/debootstrap", "debootstrap")];

/// What loads profiles in the virtual machine, and what they build upon; unpacked, because what is installed confines this
/// machine.
pub(crate) const APPARMOR: [&str; 1] = ["apparmor"];

/// What compiles a policy for it; unpacked, because nothing else here needs it.
pub(crate) const SELINUX: [&str; 2] = ["secilc", "libsepol2"];

/// Receivers of logs. They are unpacked and not installed, because what is installed is started.
pub(crate) const RECEIVERS: [&str; 9] = [
    "rsyslog",
    "rsyslog-gnutls",
    "libestr0",
    "libfastjson4",
    "liblognorm5",
    "python3-msgpack",
    "systemd",
    "libsystemd-shared",
    "libseccomp2",
];

/// Unpacks packages of this machine's own suite below `target/<name>/root`.
pub(crate) fn unpack(name: &str, packages: &[&str]) -> Outcome {
    let dir = root().join("target").join(name);
    let (complete, list) = (dir.join("complete"), packages.join(" "));
    if fs::read_to_string(&complete).is_ok_and(|known| known == list) {
        return Ok(());
    }
    fs::create_dir_all(&dir).map_err(|error| format!("create {}: {error}", dir.display()))?;
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get").arg("download").args(packages).current_dir(&dir))?;
    let entries = fs::read_dir(&dir).map_err(|error| format!("read {}: {error}", dir.display()))?;
    for package in entries.flatten().map(|entry| entry.path()) {
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&package).arg(dir.join("root")))?;
        }
    }
    fs::write(complete, list).map_err(|error| error.to_string())
}

/// Installs the packages whose file is not there.
pub(crate) fn install(wanted: &[(&str, &str)]) -> Outcome {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(file, _)| !std::path::Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing))
}

/// The `docker` client: the one that is in `PATH`, else Debian's.
pub(crate) fn install_docker_client() -> Outcome {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("docker").is_file()));
    if found {
        Ok(())
    } else {
        install(&[("/usr/bin/docker", "docker.io")])
    }
}
