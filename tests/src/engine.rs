//! Which daemon is tested: ours, or the reference, by which the tests themselves are tested.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a daemon lives.
pub(crate) struct Place<'a> {
    /// Where our programs are.
    pub(crate) programs: &'a Path,
    /// Scratch directory.
    pub(crate) dir: &'a Path,
    /// Socket to listen on.
    pub(crate) socket: &'a Path,
    /// Parent of the containers' cgroups, without a leading slash; a slice is one of systemd's, `DEFAULT_SLICE` the daemon's own
    /// choice.
    pub(crate) cgroup: &'a str,
    /// Name of the bridge, or `none`.
    pub(crate) bridge: &'a str,
}

/// The engine behind the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Ours.
    Conex,
    /// Docker's daemon and what belongs to it, unpacked below this directory (`cargo xtask reference`).
    Reference(PathBuf),
}

/// The slice that a daemon chooses which is told nothing.
pub(crate) const DEFAULT_SLICE: &str = "system.slice";

/// Flags that have containers put below this parent.
fn cgroups(parent: &str) -> Vec<OsString> {
    let option = |driver: &str| format!("--exec-opt=native.cgroupdriver={driver}").into();
    let mut flags = Vec::new();
    if parent.ends_with(".slice") && parent != DEFAULT_SLICE {
        flags.extend([option("systemd"), format!("--cgroup-parent={parent}").into()]);
    }
    if !parent.ends_with(".slice") {
        flags.push(format!("--cgroup-parent=/{parent}").into());
        if Path::new("/run/systemd/system").exists() {
            // There it would be systemd.
            flags.push(option("cgroupfs"));
        }
    }
    flags
}

/// What `cargo xtask build` has made.
pub fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist")
}

impl Engine {
    /// The reference where `CONEX_TEST_REFERENCE` names its directory.
    pub(crate) fn chosen() -> Self {
        std::env::var_os("CONEX_TEST_REFERENCE").map_or(Self::Conex, |root| Self::Reference(root.into()))
    }

    /// The daemon's command line.
    pub(crate) fn daemon(&self, place: &Place<'_>) -> Vec<OsString> {
        let program = match self {
            Self::Conex => {
                let conexd = place.programs.join("conexd");
                assert!(conexd.exists(), "{} is needed: cargo xtask build", conexd.display());
                conexd
            }
            Self::Reference(root) => root.join("usr/sbin/dockerd"),
        };
        let mut line: Vec<OsString> = vec![
            program.into(),
            "--data-root".into(),
            place.dir.join("data").into(),
            "--exec-root".into(),
            place.dir.join("exec").into(),
            "-H".into(),
            format!("unix://{}", place.socket.display()).into(),
            "--debug".into(),
        ];
        line.extend(cgroups(place.cgroup));
        match self {
            Self::Conex => line.extend(["--bridge", place.bridge].map(OsString::from)),
            Self::Reference(_) => {
                line.extend(["--pidfile".into(), place.dir.join("pid").into()]);
                if place.bridge == "none" {
                    // It shares the host's network and must leave its rules alone.
                    let alone = [
                        "--bridge=none",
                        "--iptables=false",
                        "--ip6tables=false",
                        "--ip-forward=false",
                    ];
                    line.extend(alone.map(OsString::from));
                }
            }
        }
        line
    }

    /// `PATH` of the daemon.
    pub(crate) fn path(&self) -> OsString {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let Self::Reference(root) = self else {
            return inherited;
        };
        let own = [root.join("usr/sbin"), root.join("usr/bin")];
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited))).unwrap()
    }

    /// Unmounts what the reference leaves mounted at its end.
    pub(crate) fn clean(&self, dir: &Path) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut below: Vec<&str> = below.filter(|path| Path::new(path).starts_with(dir)).collect();
        below.reverse();
        for path in below {
            // What is left is seen when the directory cannot be removed.
            let _ = Command::new("umount").args(["-l", path]).status();
        }
    }
}
