//! Containers labelled by SELinux. The kernel has to have it, with the policy of `tests/selinux.cil`: `cargo xtask vm selinux`
//! runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use conex_sys::{path, selinux};
use conex_tests::{Engine, Sandbox, StorageDriver};

/// The label of whoever runs this, without the zero that ends it.
const OWN: &str = "tr -d '\\0' < /proc/self/attr/current";

/// What is not confined has.
const HOST: &str = "system_u:system_r:kernel_t:s0-s0:c0.c1023";

const FLAGS: [&str; 1] = ["--selinux-enabled"];

fn labelling() -> Sandbox {
    let sandbox = Sandbox::with_flags(Engine::Conex, &FLAGS);
    sandbox.load_busybox();
    sandbox
}

fn inspected(sandbox: &Sandbox, container: &str) -> (String, String) {
    let said = sandbox.ok(&["inspect", "-f", "{{.ProcessLabel}} {{.MountLabel}}", container]);
    let (process, mount) = said.split_once(' ').unwrap_or((&said, ""));
    (process.to_owned(), mount.to_owned())
}

/// The categories of a label of a container's process.
fn categories(label: &str) -> &str {
    label
        .strip_prefix("system_u:system_r:container_t:s0:")
        .unwrap_or_else(|| panic!("{label}"))
}

fn has_label(path: &Path, label: &str) -> bool {
    selinux::has_label(path::open_place(path).unwrap().as_fd(), label)
}

/// A directory of the host with a file in it.
fn directory(sandbox: &Sandbox, name: &str) -> PathBuf {
    let made = sandbox.dir().join(name);
    fs::create_dir(&made).unwrap();
    fs::write(made.join("file"), "hello").unwrap();
    made
}

fn volume(directory: &Path, options: &str) -> String {
    format!("{}:/v{options}", directory.display())
}

/// A container that sleeps.
fn sleeping(sandbox: &Sandbox, name: &str, options: &[&str]) {
    let arguments = [&["run", "-d", "--name", name], options, &["busybox", "sleep", "10000"]].concat();
    sandbox.ok(&arguments);
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn every_container_has_a_label_of_its_own() {
    let sandbox = labelling();
    assert!(
        sandbox
            .ok(&["info", "-f", "{{.SecurityOptions}}"])
            .contains("name=selinux")
    );
    let (one, other) = (sandbox.run(&[], OWN), sandbox.run(&[], OWN));
    assert_ne!(categories(&one), categories(&other));
    for options in [
        &["--init"][..],
        &["-t"],
        &["-u", "worker"],
        &["--security-opt", "no-new-privileges"],
        &["--read-only"],
        &["--network", "host"],
    ] {
        categories(&sandbox.run(options, OWN));
    }
    categories(&sandbox.run(&["--init"], "tr -d '\\0' < /proc/1/attr/current"));
    // What every program does.
    sandbox.run(
        &["--tmpfs", "/t"],
        "echo x > /tmp/x && mkdir /d && chmod 600 /tmp/x && echo y > /dev/shm/y && echo > /dev/null && cat /etc/hosts \
         /etc/resolv.conf /proc/mounts && echo z > /t/z && ln -s x /tmp/z && mv /tmp/x /d",
    );
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn options_change_a_label_or_take_it_away() {
    let sandbox = labelling();
    let run = |options: &[&str]| {
        let options: Vec<&str> = options.iter().flat_map(|option| ["--security-opt", option]).collect();
        sandbox.run(&options, OWN)
    };
    assert!(run(&["label=type:container_u"]).starts_with("system_u:system_r:container_u:s0:c"));
    assert_eq!(
        run(&["label=level:s0:c100,c200", "label=type:container_u"]),
        "system_u:system_r:container_u:s0:c100,c200"
    );
    assert_eq!(run(&["label=disable"]), HOST);
    assert_eq!(run(&["label:disable"]), HOST);
    for host in ["--privileged", "--pid=host", "--ipc=host"] {
        assert_eq!(sandbox.run(&[host], OWN), HOST, "{host}");
    }
    let look = "cat /sys/fs/selinux/enforce";
    assert_eq!(sandbox.run(&["--security-opt", "label=nested"], look), "1");
    assert_ne!(sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", look]).code, 0);
    let refused = |option: &str| sandbox.docker(&["create", "--security-opt", option, "busybox"]).err;
    let words = refused("label=foo");
    assert!(
        words.contains("Bad label option \"foo\", valid options 'disable'"),
        "{words}"
    );
    let words = refused("label=foo:bar");
    assert!(
        words.contains("Bad label option \"foo\", valid options 'disable, user"),
        "{words}"
    );
    let unknown = sandbox.docker(&[
        "run",
        "--rm",
        "--security-opt",
        "label=type:nobody_t",
        "busybox",
        "true",
    ]);
    assert!(
        unknown.code != 0 && unknown.err.contains("apply the label"),
        "{unknown:?}"
    );
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn labels_are_told_and_kept_over_stops_and_crashes() {
    let mut sandbox = labelling();
    sleeping(&sandbox, "one", &[]);
    sleeping(&sandbox, "privileged", &["--privileged"]);
    let before = inspected(&sandbox, "one");
    let mount = format!("system_u:object_r:container_file_t:s0:{}", categories(&before.0));
    assert_eq!(before.1, mount);
    assert_eq!(
        inspected(&sandbox, "privileged"),
        (
            String::new(),
            "system_u:object_r:container_file_t:s0:c1022,c1023".to_owned()
        )
    );
    let exec = |sandbox: &Sandbox, options: &[&str], container: &str| {
        sandbox.ok(&[&["exec"], options, &[container, "sh", "-c", OWN]].concat())
    };
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(inspected(&sandbox, "one"), before);
    for options in [&[][..], &["-t"], &["--privileged"]] {
        assert_eq!(exec(&sandbox, options, "one"), before.0);
    }
    assert_eq!(exec(&sandbox, &[], "privileged"), HOST);
    sandbox.ok(&["exec", "one", "sh", "-c", "echo kept > /kept"]);
    sandbox.ok(&["rename", "one", "again"]);
    sandbox.ok(&["restart", "-t", "0", "again"]);
    assert_eq!(inspected(&sandbox, "again"), before);
    assert_eq!(exec(&sandbox, &[], "again"), before.0);
    assert_eq!(sandbox.ok(&["exec", "again", "cat", "/kept"]), "kept");
    // What goes in and comes out beside its processes is labelled, too.
    fs::write(sandbox.dir().join("in"), "in").unwrap();
    let file = sandbox.dir().join("in").display().to_string();
    for stopped in [false, true] {
        if stopped {
            sandbox.ok(&["stop", "-t", "0", "again"]);
        }
        let name = format!("again:/copied-{stopped}");
        sandbox.ok(&["cp", &file, &name]);
    }
    sandbox.ok(&["start", "again"]);
    assert_eq!(sandbox.ok(&["exec", "again", "sh", "-c", "cat /copied-*"]), "inin");
    sandbox.ok(&["commit", "again", "captured"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "captured", "cat", "/kept"]), "kept");
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn the_hosts_files_are_denied_to_a_container_although_it_is_root() {
    let sandbox = labelling();
    let host = directory(&sandbox, "host");
    let plain = volume(&host, "");
    let read = |options: &[&str]| sandbox.docker(&[&["run", "--rm"], options, &["busybox", "cat", "/v/file"]].concat());
    let denied = read(&["-v", &plain]);
    assert!(
        denied.err.contains("can't open '/v/file': Permission denied"),
        "{denied:?}"
    );
    for free in [&["--security-opt", "label=disable"][..], &["--privileged"]] {
        assert_eq!(read(&[&["-v", &plain], free].concat()).out, "hello");
    }
    // Labelled for all, it is; and no link leads the labels elsewhere.
    let beside = directory(&sandbox, "beside");
    symlink(&beside, host.join("directory-link")).unwrap();
    symlink(beside.join("file"), host.join("file-link")).unwrap();
    assert_eq!(read(&["-v", &volume(&host, ":ro,z")]).out, "hello");
    assert!(has_label(&host, "system_u:object_r:container_file_t:s0"));
    assert!(has_label(&host.join("file"), "system_u:object_r:container_file_t:s0"));
    assert!(has_label(&beside, "system_u:object_r:file_t:s0"));
    assert!(has_label(&beside.join("file"), "system_u:object_r:file_t:s0"));
    assert_eq!(read(&["-v", &plain]).out, "hello");
    // What the host could not do without.
    for path in ["/etc", "/usr/", "/"] {
        let refused = read(&["-v", &format!("{path}:/v:z")]);
        let named = if path == "/" { path } else { path.trim_end_matches('/') };
        let words = format!("SELinux relabeling of {named} is not allowed");
        assert!(refused.code != 0 && refused.err.contains(&words), "{refused:?}");
    }
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn what_is_one_containers_own_is_no_others() {
    let sandbox = labelling();
    let (own, shared) = (directory(&sandbox, "own"), directory(&sandbox, "shared"));
    let private = volume(&own, ":Z");
    sleeping(&sandbox, "owner", &["-v", &private, "-v", "named:/named"]);
    let read = |name: &str, file: &str| sandbox.docker(&["exec", name, "cat", file]);
    assert_eq!(read("owner", "/v/file").out, "hello");
    sleeping(&sandbox, "other", &["-v", &volume(&own, ""), "-v", "named:/named"]);
    let denied = read("other", "/v/file");
    assert!(denied.err.contains("Permission denied"), "{denied:?}");
    assert_eq!(read("owner", "/v/file").out, "hello");
    // A volume is for all unless somebody says otherwise.
    sandbox.ok(&["exec", "owner", "sh", "-c", "echo both > /named/file"]);
    assert_eq!(read("other", "/named/file").out, "both");
    sleeping(&sandbox, "first", &["-v", &volume(&shared, ":z")]);
    sleeping(&sandbox, "second", &["-v", &volume(&shared, ":z")]);
    assert_eq!(
        (read("first", "/v/file").out, read("second", "/v/file").out),
        ("hello".into(), "hello".into())
    );
    // The last who asks for it has it.
    sleeping(&sandbox, "heir", &["-v", &private]);
    assert_eq!(read("heir", "/v/file").out, "hello");
    assert!(read("owner", "/v/file").err.contains("Permission denied"));
    // Nor does one look into the other's root file system by way of the host's.
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", "owner"]);
    let (_, label) = inspected(&sandbox, "owner");
    assert!(has_label(Path::new(&format!("/proc/{pid}/root/bin/busybox")), &label));
    assert!(has_label(Path::new(&format!("/proc/{pid}/root/etc/hosts")), &label));
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn who_shares_anothers_processes_or_memory_has_its_label() {
    let sandbox = labelling();
    sleeping(&sandbox, "first", &["--ipc", "shareable"]);
    sleeping(&sandbox, "other", &[]);
    let (first, _) = inspected(&sandbox, "first");
    sandbox.ok(&["exec", "first", "sh", "-c", "echo shared > /dev/shm/file"]);
    assert_eq!(
        sandbox.run(&["--ipc", "container:first"], &format!("cat /dev/shm/file; {OWN}")),
        format!("shared\n{first}")
    );
    assert_eq!(sandbox.run(&["--pid", "container:first"], OWN), first);
    let network = sandbox.run(
        &["--network", "container:first"],
        &format!("cat /etc/hosts > /x; {OWN}"),
    );
    assert_ne!(categories(&network), categories(&first));
    let torn = sandbox.docker(&[
        "create",
        "--ipc",
        "container:first",
        "--pid",
        "container:other",
        "busybox",
    ]);
    assert!(
        torn.err
            .contains("--ipc and --pid containers SELinux labels aren't the same"),
        "{torn:?}"
    );
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn other_storage_drivers_label_trees_or_mounts() {
    let sandbox = Sandbox::with_storage_flags(StorageDriver::Vfs, &FLAGS);
    sleeping(&sandbox, "one", &[]);
    sandbox.ok(&["exec", "one", "sh", "-c", "echo x > /x && cat /etc/passwd"]);
    assert_eq!(sandbox.ok(&["diff", "one"]), "A /x");
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
    let (_, label) = inspected(&sandbox, "one");
    assert!(has_label(Path::new(&format!("/proc/{pid}/root/bin/busybox")), &label));
    // The image is as it was.
    categories(&sandbox.run(&[], OWN));
}

#[test]
fn where_the_kernel_has_none_the_daemon_warns_and_labels_nothing() {
    assert!(
        !selinux::is_enabled(),
        "this host has SELinux: it is tested with --ignored there"
    );
    let sandbox = labelling();
    let log = sandbox.log();
    assert!(
        log.contains("Docker could not enable SELinux on the host system"),
        "{log}"
    );
    assert!(!sandbox.ok(&["info", "-f", "{{.SecurityOptions}}"]).contains("selinux"));
    let host = directory(&sandbox, "host");
    let options = ["-v", &volume(&host, ":Z"), "--security-opt", "label=type:container_u"];
    assert_eq!(sandbox.run(&options, "cat /v/file"), "hello");
    sleeping(&sandbox, "one", &[]);
    assert_eq!(inspected(&sandbox, "one"), (String::new(), String::new()));
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn without_the_switch_nothing_is_labelled_and_who_asks_for_it_is_told() {
    let sandbox = Sandbox::new();
    assert!(!sandbox.ok(&["info", "-f", "{{.SecurityOptions}}"]).contains("selinux"));
    assert_eq!(sandbox.run(&[], OWN), HOST);
    assert_eq!(sandbox.run(&["--security-opt", "label=disable"], OWN), HOST);
    let host = directory(&sandbox, "host");
    assert_eq!(sandbox.run(&["-v", &volume(&host, ":Z")], "cat /v/file"), "hello");
    assert!(has_label(&host, "system_u:object_r:file_t:s0"));
    let refused = sandbox.docker(&["create", "--security-opt", "label=type:container_u", "busybox"]);
    assert!(
        refused.err.contains("the daemon was started without selinux-enabled"),
        "{refused:?}"
    );
}
