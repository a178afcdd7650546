//! Containers confined by AppArmor. The kernel has to have it: `cargo xtask vm` runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::process::Command;

use conex_tests::Sandbox;

const LIST: &str = "/sys/kernel/security/apparmor/profiles";
const LABEL: &str = "cat /proc/self/attr/current";

fn loaded(profile: &str) -> bool {
    let list = fs::read_to_string(LIST).unwrap();
    list.lines()
        .any(|line| line.split_once(" (").is_some_and(|(name, _)| name == profile))
}

/// Unloads the default profile, as updates of a distribution may.
fn unload() {
    let removed = fs::write("/sys/kernel/security/apparmor/.remove", "docker-default");
    removed.unwrap();
    assert!(!loaded("docker-default"));
}

fn load(text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("profile");
    fs::write(&file, text).unwrap();
    let said = Command::new("apparmor_parser")
        .args(["--replace", "--skip-cache"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
}

fn inspected(sandbox: &Sandbox, container: &str) -> String {
    sandbox.ok(&["inspect", "-f", "{{.AppArmorProfile}}", container])
}

#[test]
#[ignore = "needs a kernel with AppArmor"]
fn containers_are_confined_by_the_default_profile() {
    let sandbox = Sandbox::new();
    assert!(
        sandbox
            .ok(&["info", "-f", "{{.SecurityOptions}}"])
            .contains("name=apparmor")
    );
    assert_eq!(sandbox.run(&[], LABEL), "docker-default (enforce)");
    assert!(loaded("docker-default"));
    assert_eq!(sandbox.run(&["--init"], LABEL), "docker-default (enforce)");
    assert_eq!(
        sandbox.run(&["--init"], "cat /proc/1/attr/current"),
        "docker-default (enforce)"
    );
    assert_eq!(sandbox.run(&["-u", "worker"], LABEL), "docker-default (enforce)");
    let gains_nothing = ["--security-opt", "no-new-privileges"];
    assert_eq!(sandbox.run(&gains_nothing, LABEL), "docker-default (enforce)");
    assert_eq!(
        sandbox.run(&["--security-opt", "apparmor=unconfined"], LABEL),
        "unconfined"
    );
    assert_eq!(sandbox.run(&["--privileged"], LABEL), "unconfined");
}

#[test]
#[ignore = "needs a kernel with AppArmor"]
fn the_default_profile_is_loaded_again_when_it_is_gone() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&[], LABEL), "docker-default (enforce)");
    unload();
    assert_eq!(sandbox.run(&[], LABEL), "docker-default (enforce)");
}

#[test]
#[ignore = "needs a kernel with AppArmor"]
fn the_default_profile_denies_what_nothing_else_does() {
    let sandbox = Sandbox::new();
    let may = |options: &[&str], command: &str| {
        let arguments = [&["run", "--rm"], options, &["busybox", "sh", "-c", command]].concat();
        sandbox.docker(&arguments).code == 0
    };
    let unconfined = ["--security-opt", "apparmor=unconfined"];
    // Neither read-only nor masked by these; capabilities and the filter of system calls do not forbid the writes.
    let bare = ["--security-opt", "systempaths=unconfined"];
    let both = [bare, unconfined].concat();
    let parameter = "cat /proc/sys/kernel/panic > /tmp/x && cat /tmp/x > /proc/sys/kernel/panic";
    assert!(!may(&bare, parameter));
    assert!(may(&both, parameter));
    // The only parameters of the kernel's that are the container's own.
    assert!(may(
        &bare,
        "cat /proc/sys/kernel/shmmax > /tmp/x && cat /tmp/x > /proc/sys/kernel/shmmax"
    ));
    // With the right to mount, and without the filter that would refuse it.
    let mounting = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let mount = "mount -t tmpfs none /mnt";
    assert!(!may(&mounting, &format!("mkdir -p /mnt && {mount}")));
    assert!(may(
        &[&mounting, &unconfined[..]].concat(),
        &format!("mkdir -p /mnt && {mount}")
    ));
    // What programs do every day.
    assert!(may(
        &[],
        "echo x > /tmp/x && chmod 600 /tmp/x && sleep 60 & kill $! && echo 0 > /proc/self/oom_score_adj"
    ));
}

#[test]
#[ignore = "needs a kernel with AppArmor"]
fn later_processes_are_confined_as_the_first() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "confined", "busybox", "sleep", "1000"]);
    let exec =
        |options: &[&str], container: &str| sandbox.ok(&[&["exec"], options, &[container, "sh", "-c", LABEL]].concat());
    assert_eq!(exec(&[], "confined"), "docker-default (enforce)");
    assert_eq!(exec(&["-t"], "confined"), "docker-default (enforce)");
    assert_eq!(exec(&["--privileged"], "confined"), "docker-default (enforce)");
    assert_eq!(inspected(&sandbox, "confined"), "docker-default");
    sandbox.ok(&[
        "run",
        "-d",
        "--privileged",
        "--name",
        "privileged",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(exec(&[], "privileged"), "unconfined");
    assert_eq!(inspected(&sandbox, "privileged"), "unconfined");
    // The engine's signals arrive, and the container's own.
    sandbox.ok(&["kill", "-s", "KILL", "confined"]);
    assert_eq!(sandbox.ok(&["wait", "confined"]), "137");
}

#[test]
#[ignore = "needs a kernel with AppArmor"]
fn a_profile_is_chosen_by_name_and_has_to_be_loaded() {
    let sandbox = Sandbox::new();
    let mine = ["--security-opt", "apparmor=conex-test-mine"];
    sandbox.ok(&[
        &["create", "--name", "mine"],
        &mine[..],
        &["busybox", "sh", "-c", LABEL],
    ]
    .concat());
    let refused = sandbox.docker(&["start", "-a", "mine"]);
    assert_ne!(refused.code, 0);
    assert!(
        refused
            .err
            .contains("the AppArmor profile \"conex-test-mine\" is not loaded"),
        "{refused:?}"
    );
    load(
        "profile conex-test-mine flags=(attach_disconnected) { file, network, capability, signal, deny /etc/passwd r, }",
    );
    assert_eq!(sandbox.ok(&["start", "-a", "mine"]), "conex-test-mine (enforce)");
    assert_eq!(inspected(&sandbox, "mine"), "conex-test-mine");
    let privileged = [&["--privileged"], &mine[..]].concat();
    assert_eq!(sandbox.run(&privileged, LABEL), "conex-test-mine (enforce)");
    // The kernel looks for it where the name is not a plain one.
    let refused = sandbox.docker(&[
        "run",
        "--rm",
        "--security-opt",
        "apparmor=:nowhere:mine",
        "busybox",
        "true",
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("apply the label"), "{refused:?}");
}
