//! Mounts of every kind and option, read in the container's `/proc/self/mountinfo`, beside runc where it has them.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use bundle::{Bundle, CONEX, runc};
use serde_json::{Value, json};

fn push(specification: &mut Value, mount: Value) {
    specification["mounts"].as_array_mut().unwrap().push(mount);
}

/// Output of a script in a container of a runtime, after something was done to the bundle's directory.
fn output(runtime: &Path, script: &str, prepare: impl Fn(&Path), change: impl Fn(&mut Value)) -> String {
    let bundle = Bundle::of(runtime, |specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        change(specification);
    });
    prepare(bundle.directory.path());
    let output = bundle.succeed(&["run", &bundle.id]);
    bundle.assert_nothing_left();
    output
}

fn both(script: &str, prepare: impl Fn(&Path), change: impl Fn(&mut Value)) -> String {
    let ours = output(Path::new(CONEX), script, &prepare, &change);
    assert_eq!(ours, output(&runc(), script, &prepare, &change), "ours and runc's");
    ours
}

fn refusal(change: impl Fn(&mut Value)) -> String {
    let bundle = Bundle::new(change);
    let output = bundle.call(&["run", &bundle.id]);
    assert!(!output.status.success());
    bundle.assert_nothing_left();
    String::from_utf8(output.stderr).unwrap()
}

/// Options of the mount, and its optional fields, by its target.
fn found<'a>(mountinfo: &'a str, target: &str) -> (&'a str, Vec<&'a str>) {
    let mut lines = mountinfo.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields[4] == target).unwrap();
    let optional = fields[6..].iter().take_while(|field| **field != "-").copied().collect();
    (fields[5], optional)
}

const MOUNTINFO: &str = "cat /proc/self/mountinfo";

#[test]
fn options_with_an_r_reach_all_mounts_below_and_no_others() {
    let info = output(
        Path::new(CONEX),
        MOUNTINFO,
        |_| (),
        |specification| {
            for target in ["/dev/a", "/dev/a/b", "/dev/c"] {
                push(
                    specification,
                    json!({"destination": target, "type": "tmpfs", "source": "tmpfs"}),
                );
            }
            let options = ["remount", "rro", "rnosuid", "rnoatime"];
            push(
                specification,
                json!({"destination": "/dev/a", "type": "none", "source": "none", "options": options}),
            );
            push(
                specification,
                json!({"destination": "/dev/e", "type": "tmpfs", "source": "tmpfs"}),
            );
            push(
                specification,
                json!({"destination": "/dev/e/f", "type": "tmpfs", "source": "tmpfs"}),
            );
            push(
                specification,
                json!({"destination": "/dev/e", "type": "none", "source": "none", "options": ["remount", "ro"]}),
            );
        },
    );
    for target in ["/dev/a", "/dev/a/b"] {
        assert_eq!(found(&info, target).0, "ro,nosuid,noatime", "{target}");
    }
    assert_eq!(
        (
            found(&info, "/dev/c").0,
            found(&info, "/dev/e").0,
            found(&info, "/dev/e/f").0
        ),
        ("rw,relatime", "ro,relatime", "rw,relatime")
    );
}

/// Output of a script in a mount namespace of its own, in a bundle's directory; `$0` is the runtime and `$1` the container.
fn in_a_namespace(bundle: &Bundle, script: &str) -> String {
    let run = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            script,
            CONEX,
            &bundle.id,
        ])
        .current_dir(bundle.directory.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn what_a_bind_has_from_its_source_is_taken_away_only_where_that_is_said() {
    let options = |options: Value| {
        let bundle = Bundle::new(|specification| {
            specification["process"]["args"] = json!(["sh", "-c", MOUNTINFO]);
            push(
                specification,
                json!({"destination": "/dev/b", "type": "bind", "source": "data", "options": options}),
            );
        });
        fs::create_dir(bundle.path("data")).unwrap();
        let script = "mount -t tmpfs -o nosuid,nodev,noatime outer data; \"$0\" --root state run \"$1\"";
        found(&in_a_namespace(&bundle, script), "/dev/b").0.to_owned()
    };
    assert_eq!(options(json!(["bind"])), "rw,nosuid,nodev,noatime");
    assert_eq!(
        options(json!(["bind", "suid", "nosymfollow"])),
        "rw,nodev,noatime,nosymfollow"
    );
    assert_eq!(options(json!(["bind", "dev", "suid", "strictatime", "ro"])), "ro");
}

#[test]
fn a_tmpfs_begins_with_a_copy_where_that_is_asked_for() {
    let prepare = |directory: &Path| {
        let data = directory.join("rootfs/data");
        fs::create_dir_all(data.join("below")).unwrap();
        fs::write(data.join("below/file"), "contents").unwrap();
        fs::set_permissions(data.join("below/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        chown(data.join("below/file"), Some(7), Some(8)).unwrap();
        fs::set_permissions(data.join("below/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("below/file", data.join("link")).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o1751)).unwrap();
    };
    let mount = |options: Value| {
        move |specification: &mut Value| {
            push(
                specification,
                json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options}),
            );
        }
    };
    let script = "cd /data; busybox stat -c '%n %a %u %g %s' . $(busybox find . -type f -o -type l | busybox sort); cat link; grep -c ' /data ' /proc/self/mountinfo";
    let copied = both(script, prepare, mount(json!(["tmpcopyup", "mode=1751"])));
    assert!(
        copied.contains("./below/file 4755 7 8 8") && copied.ends_with("contents1\n"),
        "{copied}"
    );
    let read_only = output(Path::new(CONEX), script, prepare, mount(json!(["tmpcopyup", "ro"])));
    assert_eq!(read_only, copied, "also where it is read-only in the end");
    let without = both("ls /data; busybox stat -c %a /data", prepare, mount(json!([])));
    assert_eq!(without, "1751\n", "the mode is that of what is covered");
    let refused = refusal(|specification| {
        push(
            specification,
            json!({"destination": "/dev/a", "type": "proc", "source": "proc", "options": ["tmpcopyup"]}),
        );
    });
    assert!(
        refused.contains("mounts: /dev/a: tmpcopyup is for tmpfs only"),
        "{refused}"
    );
}

#[test]
fn a_bind_shows_its_files_with_other_ids() {
    let prepare = |directory: &Path| {
        let data = directory.join("data");
        fs::create_dir_all(&data).unwrap();
        chown(&data, Some(1000), Some(1001)).unwrap();
        fs::write(data.join("file"), "").unwrap();
        chown(data.join("file"), Some(1000), Some(1001)).unwrap();
    };
    let ids = |inside: u32, outside: u32| json!([{"containerID": inside, "hostID": outside, "size": 10}]);
    let script = "busybox stat -c '%u %g' /data/file; busybox touch /data/new; busybox stat -c '%u %g' /data/new";
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        specification["process"]["user"] = json!({"uid": 500, "gid": 601});
        specification["root"]["readonly"] = json!(false);
        push(
            specification,
            json!({
                "destination": "/data", "type": "bind", "source": "data", "options": ["bind", "idmap"],
                "uidMappings": ids(1000, 500), "gidMappings": ids(1000, 600)
            }),
        );
    });
    prepare(bundle.directory.path());
    fs::set_permissions(bundle.path("data"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(bundle.succeed(&["run", &bundle.id]), "500 601\n500 601\n");
    let new = fs::metadata(bundle.path("data/new")).unwrap();
    assert_eq!(
        (new.uid(), new.gid()),
        (1000, 1001),
        "on the disk they are what they were"
    );

    for (options, users, words) in [
        (json!(["bind", "idmap"]), json!([]), "idmap needs mappings"),
        (
            json!(["bind"]),
            ids(0, 0),
            "uidMappings and gidMappings are given together",
        ),
    ] {
        let refused = refusal(|specification| {
            push(
                specification,
                json!({
                    "destination": "/dev/a", "type": "bind", "source": "/dev", "options": options, "uidMappings": users
                }),
            );
        });
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn the_propagation_of_the_root_is_what_the_specification_says() {
    for (propagation, expected) in [("private", ""), ("shared", "shared"), ("unbindable", "unbindable")] {
        let info = output(
            Path::new(CONEX),
            MOUNTINFO,
            |_| (),
            |specification| {
                specification["linux"]["rootfsPropagation"] = json!(propagation);
            },
        );
        let (_, optional) = found(&info, "/");
        assert_eq!(
            optional.first().map_or("", |field| field.split(':').next().unwrap()),
            expected
        );
    }
    let refused = refusal(|specification| specification["linux"]["rootfsPropagation"] = json!("sideways"));
    assert!(
        refused.contains("linux.rootfsPropagation: \"sideways\" is no propagation"),
        "{refused}"
    );
}

#[test]
fn a_shared_bind_shows_the_host_what_is_mounted_in_the_container() {
    for (propagation, expected) in [("rshared", "1"), ("rslave", "0"), ("rprivate", "0")] {
        let bundle = Bundle::new(|specification| {
            specification["process"]["args"] = json!(["busybox", "mount", "-t", "tmpfs", "inner", "/data/below"]);
            specification["linux"]["rootfsPropagation"] = json!("shared");
            specification["process"]["capabilities"]["effective"] = json!(["CAP_SYS_ADMIN"]);
            specification["process"]["capabilities"]["permitted"] = json!(["CAP_SYS_ADMIN"]);
            specification["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
            specification["root"]["readonly"] = json!(false);
            push(
                specification,
                json!({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", propagation]}),
            );
        });
        fs::create_dir(bundle.path("data")).unwrap();
        let script = "mount -t tmpfs outer data; mount --make-shared data; mkdir data/below; \"$0\" --root state run \"$1\"; grep -c ' inner ' /proc/self/mountinfo || true";
        assert_eq!(in_a_namespace(&bundle, script).trim(), expected, "{propagation}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_mount_that_nobody_may_bind_is_one() {
    let info = output(
        Path::new(CONEX),
        MOUNTINFO,
        |_| (),
        |specification| {
            push(
                specification,
                json!({"destination": "/dev/a", "type": "tmpfs", "source": "tmpfs", "options": ["unbindable"]}),
            );
        },
    );
    assert_eq!(found(&info, "/dev/a").1, ["unbindable"]);
}

#[test]
fn options_of_a_file_system_do_not_go_to_a_bind() {
    let refused = refusal(|specification| {
        push(
            specification,
            json!({"destination": "/dev/a", "type": "bind", "source": "/dev", "options": ["bind", "size=1m"]}),
        );
    });
    assert!(
        refused.contains("bind mounts cannot have any filesystem-specific options applied"),
        "{refused}"
    );
    let refused = refusal(|specification| {
        push(
            specification,
            json!({"destination": "/dev/a", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption"]}),
        );
    });
    assert!(refused.contains("mount tmpfs on /dev/a: invalid argument"), "{refused}");
}

#[test]
fn an_existing_mount_namespace_is_joined() {
    let act = |runtime: &Path| {
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                "echo && exec sleep 60",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let namespace = format!("/proc/{}/ns/mnt", holder.id());
        let script = "readlink /proc/self/ns/mnt; ls /; cut -d' ' -f5 /proc/self/mountinfo | sort";
        let bundle = Bundle::of(runtime, |specification| {
            // Which hierarchies there are is each runtime's own affair.
            specification["mounts"].as_array_mut().unwrap().pop();
            specification["process"]["args"] = json!(["sh", "-c", script]);
            let namespaces = specification["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "mount");
            namespaces.push(json!({"type": "mount", "path": namespace}));
        });
        symlink("busybox", bundle.path("rootfs/bin/readlink")).unwrap();
        let told = bundle.succeed(&["run", &bundle.id]);
        let link = fs::read_link(&namespace).unwrap();
        // Its root is the container's now, for all who are in it.
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", holder.id())).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        bundle.assert_nothing_left();
        let (own, rest) = told.split_once('\n').unwrap();
        assert_eq!(Path::new(own), link);
        (rest.to_owned(), mounts.lines().count())
    };
    assert_eq!(act(Path::new(CONEX)), act(&runc()), "ours and runc's");
}
