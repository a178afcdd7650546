//! What a container is kept from, each with the same thing allowed beside it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use conex_tests::{Sandbox, dist, eventually};

#[test]
fn namespaces_are_the_containers_own() {
    let sandbox = Sandbox::new();
    for kind in ["pid", "ipc", "mnt", "uts", "net"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}"))
            .unwrap()
            .display()
            .to_string();
        assert_ne!(
            sandbox.run(&[], &format!("readlink /proc/self/ns/{kind}")),
            host,
            "{kind}"
        );
    }
    let host = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    assert_eq!(sandbox.run(&["--pid", "host"], "readlink /proc/self/ns/pid"), host);
}

#[test]
fn capabilities_are_dockers_default_ones_unless_asked_for() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.run(&[], "grep CapEff /proc/self/status"),
        "CapEff:\t00000000a80425fb"
    );
    assert_eq!(
        sandbox.run(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status"),
        "CapEff:\t0000000000000000"
    );
    assert_eq!(
        sandbox.run(&["-u", "worker"], "grep CapEff /proc/self/status"),
        "CapEff:\t0000000000000000"
    );
    let mount = "mkdir -p /mnt && mount -t tmpfs none /mnt && echo mounted";
    assert_ne!(sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", mount]).code, 0);
    assert_eq!(sandbox.run(&["--privileged"], mount), "mounted");
    let unknown = sandbox.docker(&["run", "--rm", "--cap-add", "NOSUCH", "busybox", "true"]);
    assert!(
        unknown.err.contains("unknown capability: \"CAP_NOSUCH\""),
        "{unknown:?}"
    );
}

#[test]
fn system_calls_are_filtered() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&[], "grep Seccomp: /proc/self/status"), "Seccomp:\t2");
    assert_eq!(
        sandbox.run(
            &["--security-opt", "seccomp=unconfined"],
            "grep Seccomp: /proc/self/status"
        ),
        "Seccomp:\t0"
    );
    let unshare = "unshare -U true && echo allowed";
    assert_ne!(sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", unshare]).code, 0);
    assert_eq!(
        sandbox.run(&["--security-opt", "seccomp=unconfined"], unshare),
        "allowed"
    );
}

#[test]
fn kernel_interfaces_are_masked_and_read_only() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&[], "wc -c < /proc/keys"), "0");
    assert_ne!(
        sandbox
            .docker(&["run", "--rm", "busybox", "sh", "-c", "echo 1 > /proc/sys/kernel/panic"])
            .code,
        0
    );
    assert_ne!(
        sandbox
            .docker(&["run", "--rm", "busybox", "sh", "-c", "touch /sys/x"])
            .code,
        0
    );
    assert_ne!(
        sandbox
            .docker(&["run", "--rm", "--read-only", "busybox", "touch", "/x"])
            .code,
        0
    );
    assert_eq!(
        sandbox.run(&["--read-only", "--tmpfs", "/t"], "touch /t/x && echo written"),
        "written"
    );
    assert_eq!(sandbox.run(&[], "touch /x && echo written"), "written");
}

#[test]
fn devices_are_the_few_that_programs_need() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.run(&[], "echo x > /dev/null && head -c 4 /dev/zero | wc -c"),
        "4"
    );
    let open = "mknod /tmp/d c 1 1 && head -c 1 /tmp/d";
    assert_ne!(sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", open]).code, 0);
    assert_eq!(
        sandbox.run(
            &["--device", "/dev/null:/dev/mine"],
            "echo x > /dev/mine && echo written"
        ),
        "written"
    );
}

#[test]
fn memory_is_limited() {
    let sandbox = Sandbox::new();
    let eat = "head -c 64000000 /dev/zero | tail -c 64000000 | wc -c";
    let said = sandbox.docker(&[
        "run",
        "--name",
        "eater",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        eat,
    ]);
    assert_ne!(said.out, "64000000", "{said:?}");
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.OOMKilled}}", "eater"]),
        "true"
    );
    assert_eq!(sandbox.run(&["-m", "256m"], eat), "64000000");
    let least = sandbox.docker(&["run", "--rm", "-m", "1m", "busybox", "true"]);
    assert!(least.err.contains("Minimum memory limit allowed is 6MB"), "{least:?}");
}

#[test]
fn tasks_and_cpus_are_limited() {
    let sandbox = Sandbox::new();
    let fork = "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo all";
    assert_ne!(
        sandbox
            .docker(&["run", "--rm", "--pids-limit", "4", "busybox", "sh", "-c", fork])
            .code,
        0
    );
    assert_eq!(sandbox.run(&["--pids-limit", "64"], fork), "all");
    let id = sandbox.ok(&["run", "-d", "--cpus", "0.5", "busybox", "sleep", "1000"]);
    let quota = sandbox
        .cgroups()
        .into_iter()
        .filter(|path| path.ends_with(&id))
        .find_map(|path| {
            std::fs::read_to_string(path.join("cpu.cfs_quota_us"))
                .or_else(|_| std::fs::read_to_string(path.join("cpu.max")))
                .ok()
        });
    assert!(quota.unwrap().starts_with("50000"));
}

#[test]
fn nothing_of_the_daemon_is_inside() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&[], "ls /proc/self/fd | wc -l"), "4");
    assert_eq!(sandbox.run(&[], "ps | grep -c [c]onex || true"), "0");
}

#[test]
fn no_signal_that_the_daemon_ignores_is_ignored_inside() {
    let ignored = "--ignore-signal=HUP,INT,QUIT,PIPE,ALRM,TERM,CHLD,USR1";
    for masks in signals_under(&["env", ignored]) {
        assert_eq!(masks, NO_SIGNALS);
    }
}

#[test]
fn no_signal_that_the_daemon_blocks_is_blocked_inside() {
    for masks in signals_under(&["env", "--ignore-signal", "--block-signal"]) {
        assert_eq!(masks, NO_SIGNALS);
    }
}

const NO_SIGNALS: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n";

/// What a first process and later ones see of signals when the daemon is started by this command.
fn signals_under(command: &[&str]) -> [String; 3] {
    let sandbox = Sandbox::started_by(command);
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let statuses = [
        sandbox.ok(&["exec", "box", "cat", "/proc/1/status"]),
        sandbox.ok(&["exec", "box", "cat", "/proc/self/status"]),
        sandbox
            .on_terminal(&["exec", "-t", "box", "cat", "/proc/self/status"], &[])
            .out,
    ];
    statuses.map(|status| {
        let masks = status
            .lines()
            .filter(|line| ["SigBlk", "SigIgn", "SigCgt"].iter().any(|name| line.starts_with(name)));
        masks.map(|line| format!("{}\n", line.trim_end())).collect()
    })
}

#[test]
fn a_bind_shows_the_hosts_files_writable_or_not() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.dir().join("file"), "from the host").unwrap();
    let bind = format!("{}:/host", sandbox.dir().display());
    assert_eq!(
        sandbox.run(&["-v", &bind], "cat /host/file && touch /host/made && echo"),
        "from the host"
    );
    assert!(sandbox.dir().join("made").exists());
    let refused = sandbox.docker(&[
        "run",
        "--rm",
        "-v",
        &format!("{bind}:ro"),
        "busybox",
        "touch",
        "/host/other",
    ]);
    assert!(refused.err.contains("Read-only file system"), "{refused:?}");
}

/// `HostConfig.MaskedPaths` and `HostConfig.ReadonlyPaths` of Docker 28, as far as this kernel has them.
fn paths_of_docker() -> [Vec<&'static str>; 2] {
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    [masked.to_vec(), readonly.to_vec()].map(|paths| {
        let present = paths.into_iter().filter(|path| Path::new(path).exists());
        present.collect()
    })
}

#[test]
fn all_paths_that_docker_masks_are_masked() {
    let sandbox = Sandbox::new();
    // Paths at which something is mounted, and how.
    let mounts = |options: &[&str]| {
        let text = sandbox.run(options, "cat /proc/self/mountinfo");
        let fields = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[4].to_owned(), (fields[3].to_owned(), fields[5].to_owned()))
        };
        text.lines().map(fields).collect::<std::collections::BTreeMap<_, _>>()
    };
    let [masked, readonly] = paths_of_docker();
    assert!(masked.len() > 2 && readonly.len() > 2, "{masked:?} {readonly:?}");
    let confined = mounts(&[]);
    for path in &masked {
        let (root, options) = &confined[*path];
        assert!(root == "/null" || options.starts_with("ro"), "{path}: {root} {options}");
    }
    for path in &readonly {
        assert!(confined[*path].1.starts_with("ro"), "{path}");
    }
    let open = mounts(&["--security-opt", "systempaths=unconfined"]);
    assert!(masked.iter().chain(&readonly).all(|path| !open.contains_key(*path)));
}

#[test]
fn a_later_process_is_confined_as_the_first_is() {
    let sandbox = Sandbox::new();
    let confinement = |options: &[&str]| {
        let run = [&["run", "-d"], options, &["busybox", "sleep", "1000"]].concat();
        let id = sandbox.ok(&run);
        let status = |process: &str| sandbox.ok(&["exec", &id, "grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", process]);
        let (first, later) = (status("/proc/1/status"), status("/proc/self/status"));
        assert_eq!(first, later);
        first
    };
    let default = confinement(&[]);
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "Seccomp:\t2",
    ] {
        assert!(default.contains(line), "{line}: {default}");
    }
    assert!(confinement(&["--security-opt", "seccomp=unconfined"]).contains("Seccomp:\t0"));
    assert!(confinement(&["--security-opt", "no-new-privileges"]).contains("NoNewPrivs:\t1"));
}

/// CVE-2024-21626; `crates/runtime/tests/escapes` has it without its guard.
#[test]
fn no_working_directory_is_one_of_the_host() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    // A monitor has its own directory among the first ones.
    for number in 3..12 {
        let directory = format!("/proc/self/fd/{number}");
        let first = sandbox.docker(&["run", "--rm", "-w", &directory, "busybox", "ls"]);
        assert!(first.code != 0 && first.out.is_empty(), "{directory}: {first:?}");
        let later = sandbox.docker(&["exec", "-w", &directory, "box", "ls"]);
        assert!(later.code != 0 && !later.out.contains("etc"), "{directory}: {later:?}");
    }
    // A link is no harm as such.
    assert_eq!(sandbox.run(&["-w", "/proc/self"], "pwd"), "/proc/1");
}

#[test]
fn released_programs_have_no_switch_for_guards() {
    for name in ["conexd", "conex", "conex-shim", "conex-runtime"] {
        let program = std::fs::read(dist().join(name)).unwrap();
        let has = |text: &[u8]| program.windows(text.len()).any(|bytes| bytes == text);
        assert!(has(b"conex"), "{name} is searched");
        assert!(!has(b"CONEX_WITHOUT_GUARD") && !has(b"CONEX_RACE"), "{name}");
    }
}

/// CVE-2021-41091: a set-user-id program of an image would make root of whoever reaches it.
#[test]
fn nobody_else_on_the_host_reaches_what_containers_have() {
    let sandbox = Sandbox::new();
    // Of the tests alone; what is below is as the daemon made it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(sandbox.dir(), open).unwrap();
    let script = "cp /bin/busybox /true && cp /bin/busybox /volume/true && chmod 6755 /true /volume/true && sleep 1000";
    sandbox.ok(&["run", "-d", "-v", "shared:/volume", "busybox", "sh", "-c", script]);
    let find = || {
        let mut found = Vec::new();
        search(sandbox.dir(), &mut found);
        found
    };
    eventually("both programs are there", || find().len() >= 2);
    for program in find() {
        let runs = |id: u32| {
            let started = std::process::Command::new(&program).uid(id).gid(id).status();
            started.is_ok_and(|status| status.success())
        };
        assert!(runs(0), "{program:?}");
        assert!(!runs(65534), "{program:?}");
    }
}

/// Programs with both set-id bits below a directory.
fn search(directory: &Path, found: &mut Vec<PathBuf>) {
    // What a container removes meanwhile is not looked for.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            search(&entry.path(), found);
        } else if metadata.is_file() && metadata.mode() & 0o7777 == 0o6755 {
            found.push(entry.path());
        }
    }
}

/// CVE-2020-15257: an abstract socket has no permissions but the network namespace, which a container may share.
#[test]
fn monitors_listen_where_no_container_can_connect() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let host = &["--network", "host"];
    let listening = |pattern: &str| sandbox.run(host, &format!("grep -c '{pattern}' /proc/net/unix || true"));
    assert_ne!(listening("control.sock"), "0", "sockets of the same network are seen");
    assert_eq!(listening("@"), "0");
}
