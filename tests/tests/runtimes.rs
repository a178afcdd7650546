//! Docker with our runtime and with runc (`dockerd --add-runtime`): the same commands, and the same outcome of each.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/runtime/tests/support/scenarios.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod scenarios;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use conex_tests::{Engine, Sandbox, busybox_archive, dist};
use scenarios::{Manager, Scenario, Told, compare, without_ids};
use tempfile::TempDir;

/// The reference with both runtimes.
fn docker() -> (Sandbox, TempDir) {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let ours = dist().join("conex-runtime").canonicalize().unwrap();
    let runtime = format!("conex={}", ours.display());
    // Docker runs an init of the host's: this one does no more than is needed to see that it is run.
    let directory = tempfile::tempdir().unwrap();
    let init = directory.path().join("init");
    fs::write(&init, "#!/bin/sh\nshift\necho through the init\nexec \"$@\"\n").unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    let flags = ["--add-runtime", &runtime, "--init-path", init.to_str().unwrap()];
    let docker = Sandbox::with_flags(Engine::Reference(root.into()), &flags);
    let archive = busybox_archive(docker.dir());
    docker.ok(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
    (docker, directory)
}

/// The reference with one of both.
struct Docker<'a> {
    engine: &'a Sandbox,
    runtime: &'static str,
}

impl Manager for Docker<'_> {
    /// Both use one engine, so the container `c` of each has a name of its own.
    fn told(&self, words: &[&str]) -> Told {
        let runtime = self.runtime;
        let own = format!("c-{runtime}");
        let name = |word: &str| match word {
            "c" => own.clone(),
            word => word.replace("container:c", &format!("container:{own}")),
        };
        let (verb, rest) = words.split_first().unwrap();
        let mut line = vec![(*verb).to_owned()];
        if ["run", "create"].contains(verb) {
            line.push(format!("--runtime={runtime}"));
        }
        line.extend(rest.iter().map(|word| name(word)));
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let said = self.engine.docker(&words);
        let comparable = |text: &str| without_ids(&text.replace(&own, "c").replace("runc create failed: ", ""));
        Told {
            code: said.code,
            output: comparable(&said.out),
            errors: comparable(&said.err),
        }
    }
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn docker_runs_its_containers_with_this_runtime_as_with_runc() {
    let (engine, _init) = docker();
    let [ours, theirs] = ["conex", "runc"].map(|runtime| Docker {
        engine: &engine,
        runtime,
    });
    let mut wrong = Vec::new();
    for scenario in [PROCESSES, LIMITS_AND_RIGHTS, FILE_SYSTEMS, LIFE].into_iter().flatten() {
        wrong.extend(compare(*scenario, [&ours, &theirs]));
        engine.docker(&["rm", "--force", "c-conex", "c-runc"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PROCESSES: &[Scenario<'static>] = &[
    (
        "run",
        r#"
        0 run --rm busybox echo hi
        7 run --rm busybox sh -c 'exit 7'"#,
    ),
    (
        "what cannot be run",
        r#"
        127 run --rm busybox nosuch
        127 run --rm busybox /no/such
        126 run --rm busybox /etc
        125 run --rm --user nosuchuser busybox true"#,
    ),
    (
        "exec",
        r#"
        0 run -d --name c -e A=container busybox sleep 100
        4 exec c sh -c 'echo in $A; exit 4'
        0 exec -u 1000 -w /tmp -e B=exec c sh -c 'id -u; pwd; echo $B'
        0 exec c grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status
        0 exec --privileged c grep CapEff /proc/self/status
        127 exec c nosuch"#,
    ),
    (
        "tty",
        r#"
        0 run --rm -t busybox sh -c 'tty; ls -l /dev/console | cut -c1-10'
        0 run -dt --name c busybox sleep 100
        0 exec -t c tty
        1 exec c tty"#,
    ),
    (
        "users",
        r#"
        0 run --rm --user 1000:1001 --group-add 5 busybox sh -c 'id -u; id -G'
        0 run --rm --user 1000 busybox grep Cap /proc/self/status
        0 run --rm --user 1000 busybox sh -c 'echo out > /dev/stdout; echo err > /dev/stderr'"#,
    ),
    (
        "names and environment",
        r#"
        0 run --rm --hostname box --domainname example -e A=b busybox sh -c 'hostname; env | grep -v SHLVL | sort'
        0 run --rm --workdir /made/here busybox pwd"#,
    ),
    (
        "init",
        r#"
        0 run --rm --init busybox sh -c 'cat /proc/1/comm'"#,
    ),
    (
        "namespaces",
        r#"
        0 run -d --name c --ipc shareable busybox sleep 100
        0 run --rm --pid container:c --ipc container:c --network container:c busybox sh -c 'cat /proc/1/comm; touch /dev/shm/shared'
        0 exec c ls /dev/shm
        0 run --rm --pid host busybox sh -c 'set -- /proc/[0-9]*; test $# -gt 3 && echo many'
        0 run --rm --uts host busybox hostname
        0 run --rm --cgroupns private busybox sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'
        0 run --rm --network none busybox ls /sys/class/net"#,
    ),
];

const LIMITS_AND_RIGHTS: &[Scenario<'static>] = &[
    (
        "limits",
        r#"
        0 run --rm --memory 64m --memory-reservation 32m --pids-limit 30 --cpus 0.5 --cpu-shares 512 busybox sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us'
        0 run -d --name c --memory 64m --memory-swap 64m busybox sleep 100
        0 update --memory 50m --memory-swap 50m --pids-limit 20 --cpu-shares 100 c
        0 exec c sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us'
        0 stats --no-stream --format {{.PIDs}} c"#,
    ),
    (
        "out of memory",
        r#"
        0 run -d --name c --memory 8m --memory-swap 8m busybox sh -c 'x=a; while :; do x=$x$x; done'
        0 wait c
        0 inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' c"#,
    ),
    (
        "capabilities",
        r#"
        0 run --rm busybox grep -E '^(Cap|Seccomp:)' /proc/self/status
        0 run --rm --cap-drop all --cap-add kill busybox grep Cap /proc/self/status
        0 run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
        0 run --rm --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status"#,
    ),
    (
        "privileged",
        r#"
        0 run --rm --privileged busybox sh -c "grep -E '^(Cap|Seccomp:)' /proc/self/status; ls /dev | grep -v -E 'tty|loop|vcs' | sort"
        0 run --rm --privileged busybox sh -c "mkdir /m && mount -t tmpfs none /m && grep -c ' /m ' /proc/mounts""#,
    ),
    (
        "ulimits and scores",
        r#"
        0 run --rm --ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'
        0 run --rm --oom-score-adj 77 busybox cat /proc/self/oom_score_adj
        0 run --rm --sysctl kernel.msgmax=9000 busybox cat /proc/sys/kernel/msgmax"#,
    ),
    (
        "devices",
        r#"
        1 run --rm --device /dev/fuse:/dev/mine:r busybox sh -c ': < /dev/mine && echo read; : > /dev/mine && echo written'
        1 run --rm --device-cgroup-rule 'c 10:229 rwm' busybox sh -c 'mknod /k c 10 229 && : < /k && echo opened; mknod /m c 10 237 && : < /m'"#,
    ),
];

const FILE_SYSTEMS: &[Scenario<'static>] = &[
    (
        "volumes",
        r#"
        0 run --rm -v kept:/data busybox sh -c 'echo kept > /data/file'
        1 run --rm -v kept:/data:ro busybox sh -c 'cat /data/file; touch /data/no'
        125 run --rm -v /dev:/hostdev:rslave busybox test -c /hostdev/null"#,
    ),
    (
        "tmpfs",
        r#"
        0 run --rm --tmpfs /scratch:size=1m,mode=700 busybox sh -c "grep ' /scratch ' /proc/mounts; stat -c %a /scratch"
        0 run --rm --shm-size 3m busybox sh -c 'grep /dev/shm /proc/mounts'"#,
    ),
    (
        "a root that is read-only",
        r#"
        0 run --rm --read-only --tmpfs /tmp busybox sh -c 'touch /x; touch /tmp/x && echo tmp'"#,
    ),
    (
        "masked paths",
        r#"
        0 run --rm busybox sh -c 'cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l; echo x > /proc/sys/kernel/domainname || echo refused'"#,
    ),
    (
        "copies",
        r#"
        0 run -d --name c busybox sh -c 'echo inside > /file; exec sleep 100'
        0 exec c sleep 0.2
        0 diff c
        0 exec c cat /file"#,
    ),
];

const LIFE: &[Scenario<'static>] = &[
    (
        "signals",
        r#"
        0 run -d --name c busybox sh -c TRAPS
        0 exec c sleep 0.2
        0 kill --signal HUP c
        0 exec c sleep 0.2
        0 stop -t 10 c
        0 wait c
        0 logs c
        1 kill c"#,
    ),
    (
        "pause",
        r#"
        0 run -d --name c busybox sleep 100
        0 pause c
        0 inspect --format {{.State.Status}} c
        1 exec c true
        0 unpause c
        1 unpause c
        0 pause c
        0 rm --force c"#,
    ),
    (
        "healthcheck",
        r#"
        0 run -d --name c --health-cmd 'test -e /well' --health-interval 200ms --health-retries 1 busybox sh -c 'exec sleep 100'
        0 exec c sleep 0.7
        0 inspect --format {{.State.Health.Status}} c
        0 exec c touch /well
        0 exec c sleep 0.7
        0 inspect --format {{.State.Health.Status}} c"#,
    ),
    (
        "restarts",
        r#"
        0 create --name c busybox sh -c TRAPS
        0 start c
        0 exec c sleep 0.2
        0 restart -t 5 c
        0 inspect --format '{{.State.Running}} {{.RestartCount}}' c
        1 rm c
        0 rm --force c"#,
    ),
    (
        "what is seen from outside",
        r#"
        0 run -d --name c busybox sh -c 'sleep 101 & exec sleep 100'
        0 exec c sleep 0.2
        0 stats --no-stream --format {{.PIDs}} c"#,
    ),
];
