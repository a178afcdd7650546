//! Podman with this runtime and with runc: the same commands, and the same outcome of each.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "support/podman.rs"]
mod podman;

use podman::compare;

/// A shell that says when it is there, and what it is told.
const TRAPS: &str = "trap 'echo got TERM; exit 3' TERM; trap 'echo got HUP' HUP; echo up; while :; do sleep 0.05; done";

#[test]
fn run() {
    compare(
        "run",
        &[0, 7, 0],
        &[
            &["run", "--rm", "bb", "echo", "hi"],
            &["run", "--rm", "bb", "sh", "-c", "exit 7"],
            &["run", "--rm", "bb", "sh", "-c", "sh -c 'kill -9 $$'; echo $?"],
        ],
    );
}

#[test]
fn what_cannot_be_run() {
    compare(
        "missing",
        &[127, 127, 126, 126],
        &[
            &["run", "--rm", "bb", "nosuch"],
            &["run", "--rm", "bb", "/no/such"],
            &["run", "--rm", "bb", "/etc"],
            &["run", "--rm", "--user", "nobody", "bb", "true"],
        ],
    );
}

#[test]
fn exec() {
    compare(
        "exec",
        &[0, 4, 0, 0, 0, 0, 127],
        &[
            &["run", "-d", "--name", "c", "--env", "A=container", "bb", "sleep", "100"],
            &["exec", "c", "sh", "-c", "echo in $A; exit 4"],
            &[
                "exec",
                "-u",
                "1000",
                "-w",
                "/tmp",
                "-e",
                "B=exec",
                "c",
                "sh",
                "-c",
                "id; pwd; echo $B",
            ],
            &["exec", "-d", "c", "touch", "/tmp/detached"],
            &[
                "exec",
                "c",
                "sh",
                "-c",
                "until test -e /tmp/detached; do sleep 0.05; done; grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status",
            ],
            &["exec", "--privileged", "c", "grep", "CapEff", "/proc/self/status"],
            &["exec", "c", "nosuch"],
        ],
    );
}

#[test]
fn tty() {
    compare(
        "tty",
        &[0, 0, 0, 1],
        &[
            &[
                "run",
                "--rm",
                "-t",
                "bb",
                "sh",
                "-c",
                "tty; ls -l /dev/console | cut -c1-10; stty size | wc -l",
            ],
            &["run", "-d", "-t", "--name", "c", "bb", "sleep", "100"],
            &["exec", "-t", "c", "tty"],
            &["exec", "c", "tty"],
        ],
    );
}

#[test]
fn limits() {
    compare(
        "limits",
        &[0, 0, 0, 0],
        &[
            &[
                "run",
                "--rm",
                "--memory",
                "64m",
                "--memory-reservation",
                "32m",
                "--pids-limit",
                "30",
                "--cpus",
                "0.5",
                "--cpu-shares",
                "512",
                "--cpuset-cpus",
                "0",
                "bb",
                "sh",
                "-c",
                "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus",
            ],
            &["run", "-d", "--name", "c", "--memory", "64m", "bb", "sleep", "100"],
            &["update", "--memory", "50m", "c"],
            &[
                "exec",
                "c",
                "sh",
                "-c",
                "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max",
            ],
        ],
    );
}

#[test]
fn users() {
    compare(
        "users",
        &[0, 0, 0, 0],
        &[
            &["run", "--rm", "--user", "1000:1001", "bb", "id"],
            &[
                "run",
                "--rm",
                "--user",
                "app",
                "--group-add",
                "5",
                "--umask",
                "077",
                "bb",
                "sh",
                "-c",
                "id; umask; echo $HOME",
            ],
            &[
                "run",
                "--rm",
                "--user",
                "app",
                "bb",
                "sh",
                "-c",
                "echo by its name > /dev/stdout; echo other > /dev/stderr",
            ],
            &["run", "--rm", "--user", "app", "bb", "grep", "Cap", "/proc/self/status"],
        ],
    );
}

#[test]
fn volumes() {
    compare(
        "volumes",
        &[0, 0, 1, 0, 0, 0],
        &[
            &["volume", "create", "v"],
            &[
                "run",
                "--rm",
                "-v",
                "v:/data",
                "bb",
                "sh",
                "-c",
                "echo kept > /data/file",
            ],
            &[
                "run",
                "--rm",
                "-v",
                "v:/data:ro",
                "bb",
                "sh",
                "-c",
                "cat /data/file; touch /data/no",
            ],
            &[
                "run",
                "--rm",
                "-v",
                "/dev:/hostdev:rslave",
                "bb",
                "test",
                "-c",
                "/hostdev/null",
            ],
            &[
                "run",
                "--rm",
                "--tmpfs",
                "/scratch:size=1m,mode=700",
                "bb",
                "sh",
                "-c",
                "grep ' /scratch ' /proc/mounts; stat -c %a /scratch",
            ],
            &[
                "run",
                "--rm",
                "--mount",
                "type=tmpfs,destination=/etc,tmpcopyup",
                "bb",
                "cat",
                "/etc/group",
            ],
        ],
    );
}

#[test]
fn signals() {
    compare(
        "signals",
        &[0, 0, 0, 0, 0, 0, 0, 125],
        &[
            &["run", "-d", "--name", "c", "bb", "sh", "-c", TRAPS],
            &["exec", "c", "sh", "-c", "sleep 0.3"],
            &["kill", "--signal", "HUP", "c"],
            &["exec", "c", "sh", "-c", "sleep 0.3"],
            &["stop", "--time", "10", "c"],
            &["wait", "c"],
            &["logs", "c"],
            &["kill", "c"],
        ],
    );
}

#[test]
fn pause() {
    compare(
        "pause",
        &[0, 0, 0, 255, 0, 125, 0, 0, 0],
        &[
            &["run", "-d", "--name", "c", "bb", "sleep", "100"],
            &["pause", "c"],
            &["inspect", "--format", "{{.State.Status}}", "c"],
            &["exec", "c", "true"],
            &["unpause", "c"],
            &["unpause", "c"],
            &["inspect", "--format", "{{.State.Status}}", "c"],
            &["pause", "c"],
            &["rm", "--force", "--time", "0", "c"],
        ],
    );
}

#[test]
fn healthcheck() {
    compare(
        "healthcheck",
        &[0, 1, 0, 0, 0],
        &[
            &[
                "run",
                "-d",
                "--name",
                "c",
                "--health-cmd",
                "test -e /tmp/well",
                "--health-interval",
                "0",
                "bb",
                "sleep",
                "100",
            ],
            &["healthcheck", "run", "c"],
            &["exec", "c", "touch", "/tmp/well"],
            &["healthcheck", "run", "c"],
            &["inspect", "--format", "{{.State.Health.Status}}", "c"],
        ],
    );
}

#[test]
fn init() {
    compare(
        "init",
        &[9, 0],
        &[
            &[
                "run",
                "--rm",
                "--init",
                "--init-path",
                "DIR/init",
                "bb",
                "sh",
                "-c",
                "cat /proc/1/comm; exit 9",
            ],
            &["run", "--rm", "--systemd", "false", "bb", "cat", "/proc/1/comm"],
        ],
    );
}

#[test]
fn privileged() {
    compare(
        "privileged",
        &[0, 0],
        &[
            &[
                "run",
                "--rm",
                "--privileged",
                "bb",
                "sh",
                "-c",
                "grep -E '^(Cap|Seccomp:)' /proc/self/status; ls /dev | grep -v -E 'tty|loop|vcs' | sort; grep -c ' ro,' /proc/mounts || true",
            ],
            &[
                "run",
                "--rm",
                "--privileged",
                "bb",
                "sh",
                "-c",
                "mkdir /m && mount -t tmpfs none /m && grep -c ' /m ' /proc/mounts",
            ],
        ],
    );
}

#[test]
fn capabilities() {
    compare(
        "capabilities",
        &[0, 0, 0],
        &[
            &[
                "run",
                "--rm",
                "--cap-drop",
                "all",
                "--cap-add",
                "kill",
                "bb",
                "grep",
                "Cap",
                "/proc/self/status",
            ],
            &[
                "run",
                "--rm",
                "--cap-add",
                "all",
                "bb",
                "grep",
                "Cap",
                "/proc/self/status",
            ],
            &[
                "run",
                "--rm",
                "--security-opt",
                "no-new-privileges",
                "bb",
                "grep",
                "NoNewPrivs",
                "/proc/self/status",
            ],
        ],
    );
}

#[test]
fn seccomp() {
    compare(
        "seccomp",
        &[1, 0, 0],
        &[
            &[
                "run",
                "--rm",
                "bb",
                "sh",
                "-c",
                "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp",
            ],
            &[
                "run",
                "--rm",
                "--security-opt",
                "seccomp=unconfined",
                "bb",
                "grep",
                "Seccomp:",
                "/proc/self/status",
            ],
            &["run", "--rm", "bb", "unshare", "-U", "true"],
        ],
    );
}

#[test]
fn names_and_environment() {
    compare(
        "names",
        &[0, 0, 0, 0],
        &[
            &[
                "run",
                "--rm",
                "--hostname",
                "box",
                "--env",
                "A=b",
                "bb",
                "sh",
                "-c",
                "hostname; env | grep -v -E '^(HOSTNAME|SHLVL|PWD)=' | sort",
            ],
            &["run", "--rm", "--workdir", "/tmp", "--entrypoint", "pwd", "bb"],
            &[
                "run",
                "--rm",
                "--ulimit",
                "nofile=100:200",
                "--ulimit",
                "nproc=512:1024",
                "bb",
                "sh",
                "-c",
                "ulimit -n; ulimit -Hn",
            ],
            &[
                "run",
                "--rm",
                "--oom-score-adj",
                "77",
                "bb",
                "cat",
                "/proc/self/oom_score_adj",
            ],
        ],
    );
}

#[test]
fn namespaces() {
    compare(
        "namespaces",
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[
            &["run", "-d", "--name", "c", "--ipc", "shareable", "bb", "sleep", "100"],
            &[
                "run",
                "--rm",
                "--pid",
                "container:c",
                "--ipc",
                "container:c",
                "bb",
                "sh",
                "-c",
                "cat /proc/1/comm; touch /dev/shm/shared",
            ],
            &["exec", "c", "ls", "/dev/shm"],
            &[
                "run",
                "--rm",
                "--pid",
                "host",
                "bb",
                "sh",
                "-c",
                "test $(ls -d /proc/[0-9]* | wc -l) -gt 3 && echo many",
            ],
            &["run", "--rm", "--uts", "host", "bb", "hostname"],
            &[
                "run",
                "--rm",
                "--cgroupns",
                "private",
                "bb",
                "sh",
                "-c",
                "cut -d: -f3 /proc/self/cgroup | sort -u",
            ],
            &[
                "run",
                "--rm",
                "--network",
                "host",
                "bb",
                "sh",
                "-c",
                "ls /sys/class/net | head -n 1",
            ],
            &["run", "--rm", "--network", "none", "bb", "ls", "/sys/class/net"],
        ],
    );
}

#[test]
fn a_user_namespace() {
    let map = ["--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"];
    let run = |rest: &[&'static str]| [&["run", "--rm"], &map[..], &["bb"], rest].concat();
    let own = run(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; stat -c '%u %g' /bin/busybox; touch /made && echo made; ls -l /dev/null | cut -c1-10",
    ]);
    let chowned = run(&[
        "sh",
        "-c",
        "touch /tmp/x; chown 1000:1000 /tmp/x && stat -c %u /tmp/x; chown 6000 /tmp/x",
    ]);
    compare("userns", &[0, 1], &[&own, &chowned]);
}

#[test]
fn a_root_that_is_read_only() {
    compare(
        "readonly",
        &[0, 1, 0],
        &[
            &[
                "run",
                "--rm",
                "--read-only",
                "bb",
                "sh",
                "-c",
                "touch /x; touch /tmp/x && echo tmp; touch /run/x && echo run; touch /dev/shm/x && echo shm",
            ],
            &[
                "run",
                "--rm",
                "--security-opt",
                "unmask=/proc/kcore",
                "bb",
                "sh",
                "-c",
                "test -s /proc/kcore && echo seen",
            ],
            &[
                "run",
                "--rm",
                "--security-opt",
                "mask=/proc/version",
                "bb",
                "cat",
                "/proc/version",
            ],
        ],
    );
}

#[test]
fn devices_and_parameters() {
    compare(
        "devices",
        &[1, 1, 0, 0],
        &[
            &[
                "run",
                "--rm",
                "--device",
                "/dev/fuse:/dev/mine:r",
                "bb",
                "sh",
                "-c",
                "ls -l /dev/mine | cut -c1-10,31-50; : < /dev/mine && echo read; : > /dev/mine && echo written",
            ],
            &[
                "run",
                "--rm",
                "--device-cgroup-rule",
                "c 10:229 rwm",
                "--cap-add",
                "mknod",
                "bb",
                "sh",
                "-c",
                "mknod /tmp/k c 10 229 && : < /tmp/k && echo opened; mknod /tmp/m c 10 237 && : < /tmp/m",
            ],
            &[
                "run",
                "--rm",
                "--sysctl",
                "kernel.msgmax=9000",
                "bb",
                "cat",
                "/proc/sys/kernel/msgmax",
            ],
            &[
                "run",
                "--rm",
                "--shm-size",
                "3m",
                "bb",
                "sh",
                "-c",
                "grep /dev/shm /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep size",
            ],
        ],
    );
}

#[test]
fn life() {
    compare(
        "life",
        &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
        &[
            &["create", "--name", "c", "bb", "sh", "-c", TRAPS],
            &["start", "c"],
            &["start", "c"],
            &["exec", "c", "sleep", "0.2"],
            &["restart", "--time", "5", "c"],
            &["inspect", "--format", "{{.State.Running}} {{.RestartCount}}", "c"],
            &["exec", "c", "sleep", "0.2"],
            &["rm", "c"],
            &["rm", "--force", "--time", "0", "c"],
            &["ps", "--all", "--quiet"],
        ],
    );
}

#[test]
fn what_is_seen_from_outside() {
    compare(
        "seen",
        &[0; 6],
        &[
            &[
                "run",
                "-d",
                "--name",
                "c",
                "bb",
                "sh",
                "-c",
                "sleep 101 & exec sleep 100",
            ],
            &["exec", "c", "sh", "-c", "sleep 0.5"],
            &["top", "c", "args"],
            &["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "c"],
            &["commit", "--quiet", "c", "committed"],
            &["run", "--rm", "committed", "echo", "from the commit"],
        ],
    );
}
