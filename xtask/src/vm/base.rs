//! What is on a machine's disk before the tests are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::files::{copy, create, name, remove, write};
use crate::packages;
use crate::run::{Outcome, output, root, run};

/// Who is the first process, and what is around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// A script under busybox, with the parser of AppArmor's profiles.
    Busybox,
    /// Debian's systemd, with the system bus.
    Debian,
}

/// Programs that the tests call, from this machine.
const PROGRAMS: [&str; 14] = [
    "docker", "env", "ip", "mount", "nft", "nsenter", "pgrep", "pkill", "script", "setpriv", "setsid", "sh", "tc",
    "unshare",
];

/// What Debian's smallest variant lacks for a system with systemd and its bus.
const DEBIAN: &str = "systemd,systemd-sysv,dbus,kmod,procps";

/// The unit that the machine with systemd is there for. Its cgroup is its own, with every controller; what one of its
/// containers may not have (memory, tasks) is no reason to stop it (systemd.service(5), systemd.resource-control(5)).
const UNIT: &str = "[Unit]\n\
    Description=Tests of Conex\n\
    Requires=dbus.service\n\
    After=dbus.service\n\
    [Service]\n\
    Type=oneshot\n\
    ExecStart=/tests/run\n\
    StandardOutput=tty\n\
    StandardError=tty\n\
    TTYPath=/dev/console\n\
    Delegate=yes\n\
    OOMPolicy=continue\n\
    TasksMax=infinity\n\
    IgnoreSIGPIPE=no\n";

/// Begins /tests/run where it is the first process.
const FIRST: &str = "mount -t proc proc /proc\n\
    mount -t sysfs sysfs /sys\n\
    mount -t securityfs securityfs /sys/kernel/security\n\
    mount -t devtmpfs devtmpfs /dev 2>/dev/null\n\
    mkdir -p /dev/pts /dev/shm\n\
    mount -t devpts -o ptmxmode=666 devpts /dev/pts\n\
    mount -t tmpfs tmpfs /dev/shm\n\
    mount -t tmpfs tmpfs /run\n\
    mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
    modprobe -a loop fuse\n\
    ip link set lo up\n";

impl Base {
    /// Fills the tree of the machine's root. `dir` keeps what is not made anew each time.
    pub(super) fn fill(self, dir: &Path, tree: &Path) -> Outcome {
        match self {
            Base::Busybox => {
                for directory in [
                    "dev",
                    "proc",
                    "sys",
                    "run",
                    "tmp",
                    "root",
                    "etc",
                    "var/lib",
                    "tests",
                    "usr/share",
                ] {
                    create(&tree.join(directory))?;
                }
                busybox(tree)?;
                // Busybox's own shell takes its own commands before those in PATH.
                copy(&find("sh")?, &tree.join("bin/sh"))?;
                apparmor(tree)?;
                write(&tree.join("etc/hostname"), "machine\n", 0o644)?;
                write(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n", 0o644)?;
                write(&tree.join("etc/group"), "root:x:0:\n", 0o644)?;
                // Where tests put their own.
                for file in ["subuid", "subgid"] {
                    write(&tree.join("etc").join(file), "", 0o644)?;
                }
                link("/tests/run", &tree.join("sbin/init"))?;
            }
            Base::Debian => {
                run(Command::new("cp").arg("-a").arg(debian(dir)?).arg(tree))?;
                create(&tree.join("tests"))?;
                copy(Path::new("/bin/busybox"), &tree.join("bin/busybox"))?;
                let units = tree.join("etc/systemd/system");
                write(&units.join("tests.service"), UNIT, 0o644)?;
                create(&units.join("multi-user.target.wants"))?;
                link("../tests.service", &units.join("multi-user.target.wants/tests.service"))?;
                link("/lib/systemd/system/multi-user.target", &units.join("default.target"))?;
                // The console is the tests' alone.
                for unit in ["getty.target", "console-getty.service", "serial-getty@.service"] {
                    link("/dev/null", &units.join(unit))?;
                }
            }
        }
        for program in PROGRAMS {
            program_with_libraries(tree, &find(program)?)?;
        }
        Ok(())
    }

    /// What /tests/run does first.
    pub(super) fn preparation(self) -> &'static str {
        match self {
            Base::Busybox => FIRST,
            Base::Debian => "ip link set lo up\n",
        }
    }

    /// The command that ends the machine at once.
    pub(super) fn power_off(self) -> &'static str {
        match self {
            Base::Busybox => "poweroff -f",
            Base::Debian => "systemctl poweroff --force --force",
        }
    }
}

/// The tree of Debian with systemd. It is made again when the list of its packages is another.
fn debian(dir: &Path) -> Outcome<PathBuf> {
    let (tree, made) = (dir.join("debian"), dir.join("debian.packages"));
    if fs::read_to_string(&made).is_ok_and(|made| made == DEBIAN) {
        return Ok(tree);
    }
    packages::install(&packages::DEBIAN)?;
    remove(&tree)?;
    let release = fs::read_to_string("/etc/os-release").map_err(|error| format!("read /etc/os-release: {error}"))?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .ok_or("/etc/os-release names no VERSION_CODENAME")?;
    run(Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={DEBIAN}"), suite])
        .arg(&tree))?;
    run(Command::new("chroot").arg(&tree).args(["apt-get", "clean"]))?;
    write(&made, DEBIAN, 0o644)?;
    Ok(tree)
}

/// The parser of profiles, and what they include.
fn apparmor(tree: &Path) -> Outcome {
    packages::unpack("apparmor", &packages::APPARMOR)?;
    let unpacked = root().join("target/apparmor/root");
    let parser = unpacked.join("sbin/apparmor_parser");
    copy(&parser, &tree.join("sbin/apparmor_parser"))?;
    libraries(tree, &parser)?;
    run(Command::new("cp")
        .arg("-a")
        .arg(unpacked.join("etc/apparmor.d"))
        .arg(tree.join("etc")))
}

/// Busybox under all of its names.
pub(super) fn busybox(tree: &Path) -> Outcome {
    create(&tree.join("bin"))?;
    copy(Path::new("/bin/busybox"), &tree.join("bin/busybox"))?;
    for applet in output(Command::new("/bin/busybox").arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            link("busybox", &tree.join("bin").join(applet))?;
        }
    }
    // The kernel's own name for it.
    create(&tree.join("sbin"))?;
    link("../bin/busybox", &tree.join("sbin/modprobe"))
}

fn link(target: &str, place: &Path) -> Outcome {
    symlink(target, place).map_err(|error| format!("link {}: {error}", place.display()))
}

fn find(program: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{program} is needed and is not in PATH"))
}

/// Below `usr/local/bin`, where it goes before the base's own.
fn program_with_libraries(tree: &Path, program: &Path) -> Outcome {
    copy(program, &tree.join("usr/local/bin").join(name(program)))?;
    libraries(tree, program)
}

/// Copies the shared libraries of a program.
pub(super) fn libraries(tree: &Path, program: &Path) -> Outcome {
    // A static program has none, which ldd(1) calls an error.
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(|error| format!("ldd: {error}"))?;
    for word in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
        let library = Path::new(word);
        if library.is_absolute() && !inside(tree, library).exists() {
            copy(library, &inside(tree, library))?;
        }
    }
    Ok(())
}

/// A path of the machine below the tree.
pub(super) fn inside(tree: &Path, path: &Path) -> PathBuf {
    let path = path
        .canonicalize()
        .ok()
        .filter(|_| path.is_dir())
        .unwrap_or_else(|| path.to_owned());
    tree.join(path.strip_prefix("/").unwrap_or(&path))
}
