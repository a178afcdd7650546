//! Podman with this runtime and with runc: the same commands, and the same outcome of each.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "support/podman.rs"]
mod podman;
#[path = "support/scenarios.rs"]
mod scenarios;

use podman::compare;

#[test]
fn run() {
    compare(
        "run",
        r#"
        0 run --rm bb echo hi
        7 run --rm bb sh -c 'exit 7'
        0 run --rm bb sh -c "sh -c 'kill -9 $$'; echo $?""#,
    );
}

#[test]
fn what_cannot_be_run() {
    compare(
        "missing",
        r#"
        127 run --rm bb nosuch
        127 run --rm bb /no/such
        126 run --rm bb /etc
        126 run --rm --user nobody bb true"#,
    );
}

#[test]
fn exec() {
    compare(
        "exec",
        r#"
        0 run -d --name c --env A=container bb sleep 100
        4 exec c sh -c 'echo in $A; exit 4'
        0 exec -u 1000 -w /tmp -e B=exec c sh -c 'id; pwd; echo $B'
        0 exec -d c touch /tmp/detached
        0 exec c sh -c "until test -e /tmp/detached; do sleep 0.05; done; grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status"
        0 exec --privileged c grep CapEff /proc/self/status
        127 exec c nosuch"#,
    );
}

#[test]
fn tty() {
    compare(
        "tty",
        r#"
        0 run --rm -t bb sh -c 'tty; ls -l /dev/console | cut -c1-10; stty size | wc -l'
        0 run -d -t --name c bb sleep 100
        0 exec -t c tty
        1 exec c tty"#,
    );
}

#[test]
fn limits() {
    compare(
        "limits",
        r#"
        0 run --rm --memory 64m --memory-reservation 32m --pids-limit 30 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 bb sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus'
        0 run -d --name c --memory 64m bb sleep 100
        0 update --memory 50m c
        0 exec c sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max'"#,
    );
}

#[test]
fn users() {
    compare(
        "users",
        r#"
        0 run --rm --user 1000:1001 bb id
        0 run --rm --user app --group-add 5 --umask 077 bb sh -c 'id; umask; echo $HOME'
        0 run --rm --user app bb sh -c 'echo by its name > /dev/stdout; echo other > /dev/stderr'
        0 run --rm --user app bb grep Cap /proc/self/status"#,
    );
}

#[test]
fn volumes() {
    compare(
        "volumes",
        r#"
        0 volume create v
        0 run --rm -v v:/data bb sh -c 'echo kept > /data/file'
        1 run --rm -v v:/data:ro bb sh -c 'cat /data/file; touch /data/no'
        0 run --rm -v /dev:/hostdev:rslave bb test -c /hostdev/null
        0 run --rm --tmpfs /scratch:size=1m,mode=700 bb sh -c "grep ' /scratch ' /proc/mounts; stat -c %a /scratch"
        0 run --rm --mount type=tmpfs,destination=/etc,tmpcopyup bb cat /etc/group"#,
    );
}

#[test]
fn signals() {
    compare(
        "signals",
        r#"
        0 run -d --name c bb sh -c TRAPS
        0 exec c sh -c 'sleep 0.3'
        0 kill --signal HUP c
        0 exec c sh -c 'sleep 0.3'
        0 stop --time 10 c
        0 wait c
        0 logs c
        125 kill c"#,
    );
}

#[test]
fn pause() {
    compare(
        "pause",
        r#"
        0 run -d --name c bb sleep 100
        0 pause c
        0 inspect --format {{.State.Status}} c
        255 exec c true
        0 unpause c
        125 unpause c
        0 inspect --format {{.State.Status}} c
        0 pause c
        0 rm --force --time 0 c"#,
    );
}

#[test]
fn healthcheck() {
    compare(
        "healthcheck",
        r#"
        0 run -d --name c --health-cmd 'test -e /tmp/well' --health-interval 0 bb sleep 100
        1 healthcheck run c
        0 exec c touch /tmp/well
        0 healthcheck run c
        0 inspect --format {{.State.Health.Status}} c"#,
    );
}

#[test]
fn init() {
    compare(
        "init",
        r#"
        9 run --rm --init --init-path DIR/init bb sh -c 'cat /proc/1/comm; exit 9'
        0 run --rm --systemd false bb cat /proc/1/comm"#,
    );
}

#[test]
fn privileged() {
    compare(
        "privileged",
        r#"
        0 run --rm --privileged bb sh -c "grep -E '^(Cap|Seccomp:)' /proc/self/status; ls /dev | grep -v -E 'tty|loop|vcs' | sort; grep -c ' ro,' /proc/mounts || true"
        0 run --rm --privileged bb sh -c "mkdir /m && mount -t tmpfs none /m && grep -c ' /m ' /proc/mounts""#,
    );
}

#[test]
fn capabilities() {
    compare(
        "capabilities",
        r#"
        0 run --rm --cap-drop all --cap-add kill bb grep Cap /proc/self/status
        0 run --rm --cap-add all bb grep Cap /proc/self/status
        0 run --rm --security-opt no-new-privileges bb grep NoNewPrivs /proc/self/status"#,
    );
}

#[test]
fn seccomp() {
    compare(
        "seccomp",
        r#"
        1 run --rm bb sh -c 'grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp'
        0 run --rm --security-opt seccomp=unconfined bb grep Seccomp: /proc/self/status
        0 run --rm bb unshare -U true"#,
    );
}

#[test]
fn names_and_environment() {
    compare(
        "names",
        r#"
        0 run --rm --hostname box --env A=b bb sh -c "hostname; env | grep -v -E '^(HOSTNAME|SHLVL|PWD)=' | sort"
        0 run --rm --workdir /tmp --entrypoint pwd bb
        0 run --rm --ulimit nofile=100:200 --ulimit nproc=512:1024 bb sh -c 'ulimit -n; ulimit -Hn'
        0 run --rm --oom-score-adj 77 bb cat /proc/self/oom_score_adj"#,
    );
}

#[test]
fn namespaces() {
    compare(
        "namespaces",
        r#"
        0 run -d --name c --ipc shareable bb sleep 100
        0 run --rm --pid container:c --ipc container:c bb sh -c 'cat /proc/1/comm; touch /dev/shm/shared'
        0 exec c ls /dev/shm
        0 run --rm --pid host bb sh -c 'set -- /proc/[0-9]*; test $# -gt 3 && echo many'
        0 run --rm --uts host bb hostname
        0 run --rm --cgroupns private bb sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'
        0 run --rm --network host bb sh -c 'ls /sys/class/net | head -n 1'
        0 run --rm --network none bb ls /sys/class/net"#,
    );
}

#[test]
fn a_user_namespace() {
    compare(
        "userns",
        r#"
        0 run --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 bb sh -c "id -u; cat /proc/self/uid_map; stat -c '%u %g' /bin/busybox; touch /made && echo made; ls -l /dev/null | cut -c1-10"
        1 run --rm --uidmap 0:100000:5000 --gidmap 0:100000:5000 bb sh -c 'touch /tmp/x; chown 1000:1000 /tmp/x && stat -c %u /tmp/x; chown 6000 /tmp/x'"#,
    );
}

#[test]
fn a_root_that_is_read_only() {
    compare(
        "readonly",
        r#"
        0 run --rm --read-only bb sh -c 'touch /x; touch /tmp/x && echo tmp; touch /run/x && echo run; touch /dev/shm/x && echo shm'
        1 run --rm --security-opt unmask=/proc/kcore bb sh -c 'test -s /proc/kcore && echo seen'
        0 run --rm --security-opt mask=/proc/version bb cat /proc/version"#,
    );
}

#[test]
fn devices_and_parameters() {
    compare(
        "devices",
        r#"
        1 run --rm --device /dev/fuse:/dev/mine:r bb sh -c 'ls -l /dev/mine | cut -c1-10,31-50; : < /dev/mine && echo read; : > /dev/mine && echo written'
        1 run --rm --device-cgroup-rule 'c 10:229 rwm' --cap-add mknod bb sh -c 'mknod /tmp/k c 10 229 && : < /tmp/k && echo opened; mknod /tmp/m c 10 237 && : < /tmp/m'
        0 run --rm --sysctl kernel.msgmax=9000 bb cat /proc/sys/kernel/msgmax
        0 run --rm --shm-size 3m bb sh -c "grep /dev/shm /proc/mounts | cut -d' ' -f4 | tr , '\n' | grep size""#,
    );
}

#[test]
fn life() {
    compare(
        "life",
        r#"
        0 create --name c bb sh -c TRAPS
        0 start c
        0 start c
        0 exec c sleep 0.2
        0 restart --time 5 c
        0 inspect --format '{{.State.Running}} {{.RestartCount}}' c
        0 exec c sleep 0.2
        2 rm c
        0 rm --force --time 0 c
        0 ps --all --quiet"#,
    );
}

#[test]
fn what_is_seen_from_outside() {
    compare(
        "seen",
        r#"
        0 run -d --name c bb sh -c 'sleep 101 & exec sleep 100'
        0 exec c sh -c 'sleep 0.5'
        0 top c args
        0 stats --no-stream --format '{{.Name}} {{.PIDs}}' c
        0 commit --quiet c committed
        0 run --rm committed echo 'from the commit'"#,
    );
}
