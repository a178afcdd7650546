//! Namespaces that containers share with each other and with the host.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use conex_tests::{Sandbox, eventually};

const SLEEP: [&str; 2] = ["sleep", "600"];

fn start(sandbox: &Sandbox, name: &str, options: &[&str]) -> String {
    let head = ["run", "-d", "--name", name];
    sandbox.ok(&[&head[..], options, &["busybox"], &SLEEP].concat())
}

fn namespace(sandbox: &Sandbox, container: &str, kind: &str) -> String {
    sandbox.ok(&["exec", container, "readlink", &format!("/proc/self/ns/{kind}")])
}

fn inspect(sandbox: &Sandbox, container: &str, format: &str) -> String {
    sandbox.ok(&["inspect", "-f", format, container])
}

fn refused(sandbox: &Sandbox, arguments: &[&str], words: &str) {
    let said = sandbox.docker(arguments);
    assert!(said.code != 0 && said.err.contains(words), "{arguments:?}: {said:?}");
}

#[test]
fn a_pid_namespace_is_shared_and_ends_with_its_first_process() {
    let sandbox = Sandbox::new();
    let target = start(&sandbox, "target", &[]);
    start(&sandbox, "joiner", &["--pid", "container:target"]);
    start(&sandbox, "stranger", &[]);
    let pid = namespace(&sandbox, "target", "pid");
    assert_eq!(namespace(&sandbox, "joiner", "pid"), pid);
    assert_ne!(namespace(&sandbox, "stranger", "pid"), pid);
    assert_ne!(
        namespace(&sandbox, "joiner", "mnt"),
        namespace(&sandbox, "target", "mnt")
    );
    assert_eq!(
        inspect(&sandbox, "joiner", "{{.HostConfig.PidMode}}"),
        format!("container:{target}")
    );
    // Its /proc shows the processes of both, and the first one is the other's.
    let seen = "ps -o args | grep -c '^sleep 600'";
    assert_eq!(sandbox.ok(&["exec", "joiner", "sh", "-c", seen]), "2");
    assert_eq!(sandbox.ok(&["exec", "stranger", "sh", "-c", seen]), "1");
    // A joiner's end is its own, with all that it left.
    sandbox.ok(&["exec", "-d", "joiner", "sleep", "601"]);
    sandbox.ok(&["kill", "joiner"]);
    eventually("what the joiner left is gone", || {
        !sandbox.ok(&["exec", "target", "ps"]).contains("sleep 601")
    });
    assert_eq!(inspect(&sandbox, "target", "{{.State.Running}}"), "true");
    // The other's end is that of the joiner, too.
    sandbox.ok(&["start", "joiner"]);
    sandbox.ok(&["kill", "target"]);
    assert_eq!(sandbox.ok(&["wait", "joiner"]), "137");
    refused(
        &sandbox,
        &["start", "joiner"],
        &format!("failed to join PID namespace: container {target} is not running"),
    );
    sandbox.ok(&["start", "target"]);
    sandbox.ok(&["start", "joiner"]);
    assert_eq!(
        namespace(&sandbox, "joiner", "pid"),
        namespace(&sandbox, "target", "pid")
    );
    sandbox.ok(&["rm", "-f", "target"]);
    assert_eq!(sandbox.ok(&["wait", "joiner"]), "137");
    refused(
        &sandbox,
        &["start", "joiner"],
        &format!("failed to join PID namespace: No such container: {target}"),
    );
    refused(
        &sandbox,
        &["create", "--pid", "container:nosuch", "busybox"],
        "No such container: nosuch",
    );
}

#[test]
fn execs_of_a_container_that_joined_are_in_its_namespaces_after_a_crash_of_the_daemon() {
    let mut sandbox = Sandbox::new();
    start(&sandbox, "target", &["--ipc", "shareable"]);
    start(
        &sandbox,
        "joiner",
        &["--pid", "container:target", "--ipc", "container:target"],
    );
    let before = [
        namespace(&sandbox, "target", "pid"),
        namespace(&sandbox, "target", "ipc"),
    ];
    sandbox.kill();
    sandbox.start(&[]);
    let after = [
        namespace(&sandbox, "joiner", "pid"),
        namespace(&sandbox, "joiner", "ipc"),
    ];
    assert_eq!(after, before);
    sandbox.ok(&["restart", "-t", "0", "joiner"]);
    assert_eq!(namespace(&sandbox, "joiner", "pid"), before[0]);
    sandbox.ok(&["exec", "target", "touch", "/dev/shm/later"]);
    assert_eq!(sandbox.ok(&["exec", "joiner", "ls", "/dev/shm"]), "later");
}

#[test]
fn an_ipc_namespace_is_shared_with_its_memory_where_it_is_shareable() {
    let sandbox = Sandbox::new();
    let target = start(&sandbox, "target", &["--ipc", "shareable", "--shm-size", "3m"]);
    start(&sandbox, "joiner", &["--ipc", "container:target"]);
    let private = start(&sandbox, "private", &[]);
    let ipc = namespace(&sandbox, "target", "ipc");
    assert_eq!(namespace(&sandbox, "joiner", "ipc"), ipc);
    assert_ne!(namespace(&sandbox, "private", "ipc"), ipc);
    assert_eq!(
        inspect(&sandbox, "joiner", "{{.HostConfig.IpcMode}}"),
        format!("container:{target}")
    );
    sandbox.ok(&["exec", "joiner", "sh", "-c", "echo word > /dev/shm/file"]);
    assert_eq!(sandbox.ok(&["exec", "target", "cat", "/dev/shm/file"]), "word");
    assert_eq!(sandbox.ok(&["exec", "private", "ls", "/dev/shm"]), "");
    let size = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(sandbox.ok(&["exec", "joiner", "sh", "-c", size]), "3072");
    // The mount keeps what forbids devices and programs in it.
    let mount = sandbox.ok(&["exec", "joiner", "grep", " /dev/shm ", "/proc/mounts"]);
    assert!(mount.contains("nosuid,nodev,noexec"), "{mount}");
    // Who joined can be joined.
    start(&sandbox, "third", &["--ipc", "container:joiner"]);
    assert_eq!(sandbox.ok(&["exec", "third", "cat", "/dev/shm/file"]), "word");
    // The memory is there as long as somebody has it.
    sandbox.ok(&["rm", "-f", "target"]);
    assert_eq!(sandbox.ok(&["exec", "joiner", "cat", "/dev/shm/file"]), "word");
    let hint = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)";
    for name in ["private", "nothing", "replaced"] {
        match name {
            "nothing" => start(&sandbox, name, &["--ipc", "none"]),
            "replaced" => start(&sandbox, name, &["--ipc", "shareable", "--tmpfs", "/dev/shm"]),
            _ => private.clone(),
        };
        let arguments = ["run", "--rm", "--ipc", &format!("container:{name}"), "busybox", "true"];
        refused(&sandbox, &arguments, hint);
    }
    sandbox.ok(&["stop", "-t", "0", "joiner"]);
    refused(
        &sandbox,
        &["run", "--rm", "--ipc", "container:joiner", "busybox", "true"],
        "failed to join IPC namespace: container",
    );
}

#[test]
fn a_namespace_of_the_hosts_that_is_joined_is_still_the_hosts() {
    let sandbox = Sandbox::new();
    start(&sandbox, "target", &["--ipc", "host", "--pid", "host"]);
    for kind in ["ipc", "pid"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let option = format!("--{kind}");
        let joined = sandbox.run(
            &[&option, "container:target"],
            &format!("readlink /proc/self/ns/{kind}"),
        );
        assert_eq!(joined, host.display().to_string());
    }
    let sysctl = [
        "--sysctl",
        "kernel.msgmax=4096",
        "busybox",
        "cat",
        "/proc/sys/kernel/msgmax",
    ];
    let ours = [&["run", "--rm"][..], &sysctl].concat();
    assert_eq!(sandbox.ok(&ours), "4096");
    let theirs = [&["run", "--rm", "--ipc", "container:target"][..], &sysctl].concat();
    refused(&sandbox, &theirs, "kernel.msgmax");
}

#[test]
fn names_and_cgroups_of_the_host_are_shared_where_asked_for() {
    let sandbox = Sandbox::new();
    for (kind, option) in [("uts", "--uts"), ("cgroup", "--cgroupns"), ("user", "--userns")] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let read = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(
            sandbox.run(&[option, "host"], &read),
            host.display().to_string(),
            "{kind}"
        );
    }
    let own = std::fs::read_link("/proc/self/ns/cgroup").unwrap();
    let read = "readlink /proc/self/ns/cgroup";
    assert_ne!(sandbox.run(&["--cgroupns", "private"], read), own.display().to_string());
    for (option, words) in [
        ("--uts=container:x", "invalid UTS mode"),
        ("--pid=private", "invalid PID mode"),
        ("--ipc=container:", "invalid IPC mode"),
        ("--cgroupns=container:x", "invalid"),
    ] {
        let said = sandbox.docker(&["create", option, "busybox"]);
        assert!(said.code != 0 && said.err.contains(words), "{option} {words}: {said:?}");
    }
}

#[test]
fn who_shares_namespaces_starts_with_the_daemon_after_whose_they_are() {
    let mut sandbox = Sandbox::new();
    start(&sandbox, "target", &["--ipc", "shareable", "--restart", "always"]);
    let joins = ["--pid", "container:target", "--ipc", "container:target"];
    start(
        &sandbox,
        "a-joiner",
        &[&joins[..], &["--network", "container:target", "--restart", "always"]].concat(),
    );
    sandbox.set_flags(&["--live-restore=false"]);
    sandbox.terminate();
    sandbox.start(&[]);
    sandbox.terminate();
    sandbox.start(&[]);
    eventually("both run", || {
        ["target", "a-joiner"]
            .iter()
            .all(|name| inspect(&sandbox, name, "{{.State.Running}} {{.State.Restarting}}") == "true false")
    });
    let log = sandbox.log();
    assert!(!log.contains("failed to join") && !log.contains("cannot join"), "{log}");
    for kind in ["pid", "ipc", "net"] {
        assert_eq!(
            namespace(&sandbox, "a-joiner", kind),
            namespace(&sandbox, "target", kind),
            "{kind}"
        );
    }
}

#[test]
fn the_daemon_says_what_containers_get_that_do_not_say() {
    let mut sandbox = Sandbox::new();
    sandbox.kill();
    sandbox.set_flags(&["--default-ipc-mode", "shareable", "--default-cgroupns-mode", "private"]);
    sandbox.start(&[]);
    start(&sandbox, "target", &[]);
    let modes = "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}";
    assert_eq!(inspect(&sandbox, "target", modes), "shareable private");
    let host = std::fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_ne!(namespace(&sandbox, "target", "cgroup"), host.display().to_string());
    start(&sandbox, "joiner", &["--ipc", "container:target", "--cgroupns", "host"]);
    let joined = format!("container:{} host", inspect(&sandbox, "target", "{{.Id}}"));
    assert_eq!(inspect(&sandbox, "joiner", modes), joined);
    sandbox.set_flags(&[]);
    for (flags, words) in [
        (
            ["--default-ipc-mode", "host"],
            "IPC mode \"host\" is not supported as default value",
        ),
        (
            ["--default-ipc-mode", "nosuch"],
            "default IPC mode setting (nosuch) is invalid",
        ),
        (
            ["--default-cgroupns-mode", "nosuch"],
            "default cgroup namespace mode (nosuch) is invalid",
        ),
    ] {
        let said = sandbox.run_daemon(&flags, &[]);
        assert!(said.code != 0 && said.err.contains(words), "{said:?}");
    }
}
