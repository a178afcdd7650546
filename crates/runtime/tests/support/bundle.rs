//! A bundle of Debian's static busybox, and the two runtimes that run it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use conex_sys::{mount, mountns};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Ours.
pub(crate) const CONEX: &str = env!("CARGO_BIN_EXE_conex-runtime");

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A bundle with its own root for state and its own cgroup; everything goes when it is dropped.
pub(crate) struct Bundle {
    pub(crate) directory: TempDir,
    runtime: PathBuf,
    /// The container's id and the name of its cgroup.
    pub(crate) id: String,
}

/// The path of runc, the oracle of these tests.
pub(crate) fn runc() -> PathBuf {
    installed("runc")
}

/// The path of crun, the other one.
pub(crate) fn crun() -> PathBuf {
    installed("crun")
}

/// A static busybox, which containers have.
pub(crate) fn busybox() -> PathBuf {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from);
    let found = busybox.into_iter().find(|path| path.exists());
    found.expect("busybox is needed: install Debian's package busybox-static")
}

fn installed(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is needed: install Debian's package {name}"))
}

impl Bundle {
    /// A bundle for our runtime.
    pub(crate) fn new(change: impl FnOnce(&mut Value)) -> Bundle {
        Bundle::of(Path::new(CONEX), change)
    }

    /// A bundle for either runtime, its specification changed.
    pub(crate) fn of(runtime: &Path, change: impl FnOnce(&mut Value)) -> Bundle {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let directory = TempDir::new().unwrap();
        let binaries = directory.path().join("rootfs/bin");
        fs::create_dir_all(&binaries).unwrap();
        fs::copy(busybox(), binaries.join("busybox")).unwrap();
        for name in [
            "cat", "echo", "env", "grep", "hostname", "id", "kill", "ls", "mkdir", "pwd", "sed", "sh", "sleep", "true",
            "tty",
        ] {
            symlink("busybox", binaries.join(name)).unwrap();
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("conex-runtime-test-{}-{number}", std::process::id());
        let mut specification = specification(&id);
        change(&mut specification);
        fs::write(directory.path().join("config.json"), specification.to_string()).unwrap();
        Bundle {
            directory,
            runtime: runtime.to_path_buf(),
            id,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The runtime with `--root` and these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command
            .arg("--root")
            .arg(self.path("state"))
            .args(arguments)
            .current_dir(self.directory.path());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that has to succeed; returns its output.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?} of {}: {}: {errors}",
            self.runtime.display(),
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with output to a file, because the container keeps the descriptors.
    pub(crate) fn call_into(&self, arguments: &[&str], file: &str) -> bool {
        let output = fs::File::create(self.path(file)).unwrap();
        let errors = output.try_clone().unwrap();
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .unwrap()
            .success()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.succeed(&["state", &self.id])).unwrap()
    }

    /// Waits until the file says so.
    pub(crate) fn wait_for(&self, file: &str, text: &str) {
        for _ in 0..500 {
            if fs::read_to_string(self.path(file)).is_ok_and(|contents| contents.contains(text)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!(
            "{file} does not say {text:?}: {:?}",
            fs::read_to_string(self.path(file))
        );
    }

    /// Directories of the container's cgroup that exist.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(root)
            .unwrap()
            .flatten()
            .map(|entry| entry.path().join(&self.id));
        below
            .chain([root.join(&self.id)])
            .filter(|path| path.exists())
            .collect()
    }

    /// Panics if anything of the container is left.
    pub(crate) fn assert_nothing_left(&self) {
        assert!(!self.path("state").join(&self.id).exists(), "the state is left");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "the cgroup is left");
        assert_eq!(self.processes(), Vec::<PathBuf>::new(), "a process or a mount is left");
    }

    /// Processes that are in the container's cgroup, or have something of the bundle mounted. Zombies are their parents'.
    fn processes(&self) -> Vec<PathBuf> {
        let directory = self.directory.path().to_str().unwrap();
        let says = |file: PathBuf, text: &str| fs::read_to_string(file).is_ok_and(|all| all.contains(text));
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes
            .filter(|process| says(process.join("cgroup"), &self.id) || says(process.join("mountinfo"), directory))
            .filter(|process| !says(process.join("status"), "State:\tZ") && process.exists())
            .collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Most tests have deleted it already.
        let _ = self
            .command(&["delete", "--force", &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Acts where crun works: it refuses a hybrid hierarchy, and still makes a directory where the unified one was.
pub(crate) fn beside_crun<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let hidden = || {
        if unified.exists() {
            let nothing = mount::new_file_system("tmpfs", "hidden", &[], mount::Attributes::default()).unwrap();
            mount::attach_at(nothing.as_fd(), unified).unwrap();
        }
        act()
    };
    mountns::private(hidden).unwrap()
}

/// Runs a script under both runtimes in the foreground; returns ours and runc's output.
pub(crate) fn both(script: &str, change: impl Fn(&mut Value)) -> (String, String) {
    let run = |runtime: &Path| {
        let bundle = Bundle::of(runtime, |specification| {
            specification["process"]["args"] = json!(["sh", "-c", script]);
            change(specification);
        });
        let output = bundle.succeed(&["run", &bundle.id]);
        bundle.assert_nothing_left();
        output
    };
    (run(Path::new(CONEX)), run(&runc()))
}

/// Makes a specification the one that Docker 28 writes for `docker run`, with Docker's current filter on x86_64. The
/// version is the one that crun 1.8 knows; the bundle needs `write_docker_files`.
pub(crate) fn docker(specification: &mut Value) {
    let mut docker: Value = serde_json::from_str(include_str!("docker.json")).unwrap();
    docker["linux"]["cgroupsPath"] = specification["linux"]["cgroupsPath"].take();
    *specification = docker;
}

/// Makes the files that Docker binds into a container.
pub(crate) fn write_docker_files(bundle: &Bundle) {
    for name in ["resolv.conf", "hostname", "hosts"] {
        fs::write(bundle.path(name), "box\n").unwrap();
    }
}

/// A specification like that of `runc spec`.
fn specification(id: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
