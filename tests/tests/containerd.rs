//! containerd with our runtime and with runc (`ctr run --runc-binary`): the same commands, and the same outcome of each.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/runtime/tests/support/scenarios.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod scenarios;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use conex_tests::{busybox_archive, busybox_layer, dist, eventually};
use scenarios::{Manager, Scenario, Told, compare, remove_cgroup};
use tempfile::TempDir;

/// The image's name, which is written `busybox` in the commands.
const IMAGE: &str = "docker.io/library/busybox:latest";

/// containerd in namespaces of its own, whose end takes along what it started.
struct Containerd {
    directory: TempDir,
    programs: PathBuf,
    unshare: Child,
}

impl Containerd {
    fn start() -> Containerd {
        let reference = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names its directory");
        let programs = Path::new(&reference).join("usr/bin");
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        // What Kubernetes speaks to would want plugins of the network.
        let text = format!(
            "version = 3\nroot = '{root}'\nstate = '/run/containerd'\n\
             disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri']\n",
            root = directory.path().join("root").display()
        );
        fs::write(&config, text).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, directory.path().join("silence"), 0o600.into()).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let script = "mount -t tmpfs none /run; ip link set lo up; exec containerd --config $0";
        let unshare = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["sh", "-ec", script])
            .arg(&config)
            .env("PATH", path_with(&programs))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Containerd {
            directory,
            programs,
            unshare,
        };
        let answers = || {
            containerd
                .ctr("default", &["version"])
                .is_some_and(|said| said.code == 0)
        };
        eventually("containerd answers", answers);
        containerd
    }

    /// `ctr` in a namespace of containerd's; `None` where the namespaces are not there yet.
    fn ctr(&self, namespace: &str, words: &[&str]) -> Option<Told> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let containerd = fs::read_to_string(children).unwrap();
        let containerd = containerd.split_whitespace().next()?;
        // For reading and writing, it never ends (fifo(7)): a terminal would turn an end into a letter.
        let silence = self.directory.path().join("silence");
        let silence = fs::File::options().read(true).write(true).open(silence).unwrap();
        let output = Command::new("nsenter")
            .args(["--target", containerd, "--mount", "--net", "--pid"])
            .args(words_of_ctr(words))
            .env("PATH", path_with(&self.programs))
            .env("CONTAINERD_NAMESPACE", namespace)
            .stdin(silence)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Told {
            code: output.status.code().unwrap_or(-1),
            output: text(&output.stdout),
            errors: text(&output.stderr),
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // The first process of the pid namespace goes with it, and everything else with that.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// The command line of `ctr`, in a terminal where it is to hand one on: it has to be in one itself.
fn words_of_ctr(words: &[&str]) -> Vec<String> {
    let line = ["ctr"].iter().chain(words).map(|word| (*word).to_owned());
    if !words.contains(&"--tty") {
        return line.collect();
    }
    let quoted: Vec<String> = line.map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    [
        "script",
        "--quiet",
        "--return",
        "--command",
        &quoted.join(" "),
        "/dev/null",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// `PATH` with the reference's programs before the machine's own.
fn path_with(programs: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = [programs.to_owned()].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(directories).unwrap()
}

/// containerd with one runtime, in a namespace of its own.
struct Ctr<'a> {
    containerd: &'a Containerd,
    namespace: String,
    runtime: PathBuf,
}

impl<'a> Ctr<'a> {
    fn new(containerd: &'a Containerd, runtime: PathBuf) -> Ctr<'a> {
        let name = runtime.file_name().unwrap().to_str().unwrap();
        let ctr = Ctr {
            namespace: format!("conex-test-ctr-{}-{name}", std::process::id()),
            containerd,
            runtime,
        };
        let archive = busybox_archive(containerd.directory.path());
        let imported = ctr.call(&["image", "import", "--no-unpack", archive.to_str().unwrap()]);
        assert_eq!(imported.code, 0, "{imported:?}");
        ctr
    }

    fn call(&self, words: &[&str]) -> Told {
        self.containerd.ctr(&self.namespace, words).expect("containerd runs")
    }

    /// Ends and removes what a scenario has left.
    fn clean(&self) {
        self.call(&["task", "delete", "--force", "c"]);
        self.call(&["container", "delete", "c"]);
        self.call(&["snapshot", "--snapshotter", "native", "delete", "c"]);
    }
}

impl Manager for Ctr<'_> {
    fn told(&self, words: &[&str]) -> Told {
        if let ["sleep", seconds] = words {
            let slept = Command::new("sleep").arg(seconds).status().unwrap();
            let (output, errors) = (String::new(), String::new());
            return Told {
                code: slept.code().unwrap(),
                output,
                errors,
            };
        }
        let directory = self.containerd.directory.path().to_str().unwrap();
        let mut line: Vec<String> = words
            .iter()
            .map(|word| match *word {
                "busybox" => IMAGE.to_owned(),
                word => word.replace("DIR", directory),
            })
            .collect();
        let makes = words[0] == "run" || words[..2] == ["container", "create"];
        if makes {
            // A copy of the image does for every file system below.
            let ours = [
                "--snapshotter",
                "native",
                "--runc-binary",
                self.runtime.to_str().unwrap(),
            ];
            let verb = if words[0] == "run" { 1 } else { 2 };
            line.splice(verb..verb, ours.map(str::to_owned));
        }
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let told = self.call(&line);
        let measured = words[0] == "task" && ["list", "metrics", "ps"].contains(&words[1]);
        let comparable = |text: &str| {
            let text = text.replace(&self.namespace, "NAMESPACE");
            let text = text.replace("runc create failed: ", "");
            let text: String = text.split_inclusive('\n').map(without_time).collect();
            if measured { unmeasured(&text) } else { text }
        };
        Told {
            code: told.code,
            output: comparable(&told.output),
            errors: comparable(&told.errors),
        }
    }
}

/// A line of a log without its time.
fn without_time(line: &str) -> &str {
    match line.strip_prefix("time=\"").and_then(|line| line.split_once("\" ")) {
        Some((_, rest)) => rest,
        None => line,
    }
}

/// A table without what is measured, and without pids and times.
fn unmeasured(table: &str) -> String {
    let line = |line: &str| {
        let is_chosen = ["limit", "pids.current"].iter().any(|name| line.contains(name));
        let words = line.split_whitespace().map(|word| match word {
            word if word.starts_with(|letter: char| "[]0123456789".contains(letter)) && !is_chosen => "N",
            word if word.starts_with("seconds:") || word.starts_with("nanos:") => "N",
            word => word,
        });
        // So many numbers as there are processors and digits.
        let mut words: Vec<&str> = words.collect();
        words.dedup();
        words.join(" ") + "\n"
    };
    table.lines().map(line).collect()
}

#[test]
#[ignore = "needs the reference's containerd: cargo xtask reference"]
fn containerd_runs_its_containers_with_this_runtime_as_with_runc() {
    let containerd = Containerd::start();
    let rootfs = containerd.directory.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tar::Archive::new(&busybox_layer()[..]).unpack(&rootfs).unwrap();
    fs::write(rootfs.join("marker"), "a root of its own\n").unwrap();
    let ours = dist().join("conex-runtime").canonicalize().unwrap();
    let managers = [ours, PathBuf::from("/usr/sbin/runc")].map(|runtime| Ctr::new(&containerd, runtime));
    let [ours, theirs] = &managers;
    let mut wrong = Vec::new();
    for scenario in [PROCESSES, LIMITS_AND_RIGHTS, FILE_SYSTEMS, LIFE].into_iter().flatten() {
        wrong.extend(compare(*scenario, [ours, theirs]));
        ours.clean();
        theirs.clean();
    }
    for manager in &managers {
        remove_cgroup(&manager.namespace);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PROCESSES: &[Scenario<'static>] = &[
    (
        "run",
        r#"
        0 run --rm busybox c echo hi
        7 run --rm busybox c sh -c 'echo out; echo err >&2; exit 7'
        3 run --rm --null-io busybox c sh -c 'echo lost; exit 3'"#,
    ),
    (
        "what cannot be run",
        r#"
        1 run --rm busybox c nosuch
        1 run --rm busybox c /no/such
        1 run --rm busybox c /etc
        1 run --rm busybox c /etc/passwd"#,
    ),
    (
        "exec",
        r#"
        0 run --detach --env A=container busybox c sleep 100
        4 task exec --exec-id one c sh -c 'echo in $A; exit 4'
        0 task exec --exec-id two --cwd /tmp --user 1000:1001 c sh -c 'id -u; id -g; pwd'
        0 task exec --exec-id three c grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status
        0 task exec --exec-id four --detach c touch /tmp/detached
        0 task exec --exec-id five c sh -c 'until test -e /tmp/detached; do sleep 0.05; done'
        1 task exec --exec-id six c nosuch
        1 task exec --exec-id seven --cwd /nowhere c pwd"#,
    ),
    (
        "tty",
        r#"
        0 run --rm --tty busybox c sh -c 'tty; stty size | wc -l; ls -l /dev/console | cut -c1-10'
        5 run --rm --tty busybox c sh -c 'exit 5'
        0 run --detach --tty busybox c sleep 100
        0 task exec --exec-id one --tty c sh -c 'tty; sleep 1'
        1 task exec --exec-id two c tty"#,
    ),
    (
        "users and environment",
        r#"
        0 run --rm --user 1000:1001 busybox c sh -c 'id -u; id -G'
        0 run --rm --user 1000 busybox c grep Cap /proc/self/status
        0 run --rm --user 1000 busybox c sh -c 'echo out > /dev/stdout; echo err > /dev/stderr'
        0 run --rm --hostname box --env A=b --cwd /tmp busybox c sh -c 'hostname; pwd; env | grep -v SHLVL | sort'"#,
    ),
    (
        "namespaces",
        r#"
        0 run --rm --with-ns ipc:/proc/1/ns/ipc --with-ns uts:/proc/1/ns/uts busybox c hostname
        0 run --rm --with-ns pid:/proc/1/ns/pid busybox c cat /proc/1/comm
        0 run --rm --net-host busybox c ls /sys/class/net
        0 run --rm busybox c ls /sys/class/net"#,
    ),
    (
        "a user namespace",
        r#"
        0 run --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 busybox c sh -c "id -u; cat /proc/self/uid_map; stat -c '%u %g' /bin/busybox; touch /made && echo made; ls -l /dev/null | cut -c1-10"
        1 run --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 busybox c sh -c 'touch /tmp/x; chown 1000:1000 /tmp/x && stat -c %u /tmp/x; chown 6000 /tmp/x'"#,
    ),
];

const LIMITS_AND_RIGHTS: &[Scenario<'static>] = &[
    (
        "limits",
        r#"
        0 run --rm --memory-limit 67108864 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro busybox c sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus'
        0 run --rm --cpu-quota 20000 --cpu-period 50000 --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro busybox c sh -c 'cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us'
        137 run --rm --memory-limit 8388608 busybox c sh -c 'x=a; while :; do x=$x$x; done'"#,
    ),
    (
        "what is seen from outside",
        r#"
        0 run --detach --memory-limit 67108864 busybox c sh -c 'sleep 101 & exec sleep 100'
        0 sleep 0.3
        0 task list
        0 task ps c
        0 task metrics c"#,
    ),
    (
        "capabilities",
        r#"
        0 run --rm busybox c grep -E '^(Cap|NoNew)' /proc/self/status
        0 run --rm --cap-add CAP_SYS_ADMIN --cap-drop CAP_CHOWN busybox c grep Cap /proc/self/status
        0 run --rm --allow-new-privs busybox c grep NoNew /proc/self/status
        0 run --rm --cap-add CAP_NOSUCH busybox c true"#,
    ),
    (
        "privileged",
        r#"
        0 run --rm --privileged busybox c sh -c "grep -E '^(Cap|Seccomp:)' /proc/self/status; ls /dev | grep -v -E 'tty|loop|vcs' | sort; grep -c ' ro,' /proc/mounts || true"
        0 run --rm --privileged --privileged-without-host-devices busybox c sh -c "mkdir /m && mount -t tmpfs none /m && grep -c ' /m ' /proc/mounts; ls /dev | sort""#,
    ),
    (
        "seccomp",
        r#"
        0 run --rm busybox c grep Seccomp: /proc/self/status
        1 run --rm --seccomp busybox c sh -c 'grep Seccomp: /proc/self/status; unshare -U true'
        1 run --rm --seccomp --seccomp-profile DIR/profile.json busybox c mkdir /tmp/made"#,
    ),
    (
        "devices",
        r#"
        0 run --rm --device /dev/fuse busybox c sh -c 'ls -l /dev/fuse | cut -c1-10; : < /dev/fuse && echo opened'
        0 run --rm busybox c sh -c 'cd /dev; stat -c "%A %t:%T %N" *'
        1 run --rm --device /dev/nosuch busybox c true"#,
    ),
];

const FILE_SYSTEMS: &[Scenario<'static>] = &[
    (
        "a root of the caller's",
        r#"
        0 run --rm --rootfs DIR/rootfs c /bin/cat /marker
        1 run --rm --rootfs --read-only DIR/rootfs c /bin/touch /made"#,
    ),
    (
        "no pivot",
        r#"
        0 run --rm --no-pivot busybox c sh -c 'ls /; grep -c . /proc/mounts'"#,
    ),
    (
        "mounts",
        r#"
        0 run --rm --mount type=bind,src=DIR/rootfs,dst=/seen,options=rbind:ro busybox c sh -c 'cat /seen/marker; touch /seen/no || echo read-only'
        0 run --rm --mount type=tmpfs,src=tmpfs,dst=/scratch,options=size=1m:mode=700 busybox c sh -c "grep ' /scratch ' /proc/mounts; stat -c %a /scratch"
        1 run --rm --read-only busybox c touch /made
        0 run --rm busybox c sh -c 'cut -d" " -f2-3 /proc/mounts | grep -v "^/ "'"#,
    ),
];

const LIFE: &[Scenario<'static>] = &[
    (
        "signals",
        r#"
        0 run --detach busybox c sh -c "trap 'exit 3' TERM; trap '' HUP; while :; do sleep 0.05; done"
        0 sleep 0.3
        0 task kill --signal HUP c
        0 sleep 0.3
        0 task kill c
        0 sleep 1
        0 task list
        1 task kill c
        0 task delete c
        0 container delete c
        0 task list"#,
    ),
    (
        "signals to a later process",
        r#"
        0 run --detach busybox c sleep 100
        0 task exec --exec-id one --detach c sleep 100
        0 task kill --exec-id one --signal KILL c
        0 sleep 0.3
        1 task kill --exec-id one --signal KILL c
        0 task kill --all --signal KILL c
        0 sleep 0.5
        0 task list"#,
    ),
    (
        "pause",
        r#"
        0 run --detach busybox c sleep 100
        0 task pause c
        0 task list
        1 task exec --exec-id one c true
        0 task resume c
        1 task resume c
        0 task list
        0 task exec --exec-id two c true
        0 task pause c
        0 task kill --signal KILL c
        0 sleep 0.5
        0 task list"#,
    ),
    (
        "created first",
        r#"
        0 container create busybox c sh -c 'echo started; exit 6'
        0 task list
        6 task start c
        0 container list --quiet
        0 container delete c
        1 task start c"#,
    ),
];
