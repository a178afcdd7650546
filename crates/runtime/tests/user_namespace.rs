//! Containers in user namespaces, beside runc.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::Command;

use bundle::{Bundle, CONEX, runc};
use serde_json::{Value, json};

const FIRST: u32 = 100_000;

fn namespace(specification: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
    specification["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user"}));
    specification["linux"]["uidMappings"] = map.clone();
    specification["linux"]["gidMappings"] = map;
}

fn give(path: &Path) {
    lchown(path, Some(FIRST), Some(FIRST)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// A bundle whose root belongs to the namespace's root. runc wants the way to it open.
fn mapped(runtime: &Path, script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = Bundle::of(runtime, |specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        namespace(specification);
        change(specification);
    });
    give(&bundle.path("rootfs"));
    fs::set_permissions(bundle.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    bundle
}

fn both(script: &str, change: impl Fn(&mut Value)) -> String {
    let run = |runtime: &Path| {
        let bundle = mapped(runtime, script, &change);
        let output = bundle.succeed(&["run", &bundle.id]);
        bundle.assert_nothing_left();
        output
    };
    let ours = run(Path::new(CONEX));
    assert_eq!(ours, run(&runc()), "ours and runc's");
    ours
}

#[test]
fn a_new_user_namespace_has_the_map_and_its_root_is_nobody_outside() {
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id; busybox stat -c '%u %g %n' / /proc /dev /dev/pts /bin/busybox; ls -l /dev/null /dev/zero; hostname; echo x > /dev/null";
    let output = both(script, |_| ());
    assert!(
        output.contains("0     100000      65536") && output.contains("uid=0(root)") || output.contains("uid=0"),
        "{output}"
    );

    let bundle = mapped(Path::new(CONEX), "sleep 60", |_| ());
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let pid = bundle.state()["pid"].to_string();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), FIRST);
    let later = bundle.succeed(&["exec", &bundle.id, "sh", "-c", "id -u; cat /proc/self/uid_map"]);
    assert_eq!(
        later.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"]
    );
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn limits_mounts_and_filters_are_the_same_as_runcs() {
    let status = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; ls /dev /proc/self/fd; pwd";
    both(status, |specification| {
        specification["process"]["oomScoreAdj"] = json!(7);
        specification["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]});
        specification["linux"]["resources"]["pids"] = json!({"limit": 50});
    });
}

#[test]
fn sources_of_binds_need_no_way_for_the_containers_root() {
    let secret = tempfile::TempDir::new().unwrap();
    fs::write(secret.path().join("file"), "from behind a closed door").unwrap();
    fs::set_permissions(secret.path().join("file"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = mapped(
        Path::new(CONEX),
        "cat /data; grep ' /data ' /proc/self/mountinfo",
        |specification| {
            specification["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/data", "type": "bind", "source": secret.path().join("file"), "options": ["bind", "ro"]
            }));
            specification["root"]["readonly"] = json!(false);
        },
    );
    // Not even the bundle's own directory.
    fs::set_permissions(bundle.directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let output = bundle.succeed(&["run", &bundle.id]);
    assert!(
        output.starts_with("from behind a closed door") && output.contains(" ro,"),
        "{output}"
    );
    assert!(!output.contains("shared:"), "nothing is shared with the host: {output}");
}

#[test]
fn a_bind_with_idmap_has_the_map_of_the_container() {
    let bundle = mapped(
        Path::new(CONEX),
        "busybox stat -c '%u %g' /data /data/file; busybox touch /data/new",
        |specification| {
            specification["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/data", "type": "bind", "source": "data", "options": ["bind", "idmap"]
            }));
            specification["root"]["readonly"] = json!(false);
        },
    );
    fs::create_dir(bundle.path("data")).unwrap();
    fs::write(bundle.path("data/file"), "").unwrap();
    assert_eq!(
        bundle.succeed(&["run", &bundle.id]),
        "0 0\n0 0\n",
        "the host's root is the container's"
    );
    assert_eq!(
        fs::metadata(bundle.path("data/new")).unwrap().uid(),
        0,
        "nothing was given away on the disk"
    );
}

#[test]
fn a_root_that_is_mounted_with_mapped_ids_stays_shared_with_others() {
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!([
            "sh",
            "-c",
            "busybox stat -c '%u %g' /bin/busybox /; busybox touch /made"
        ]);
        specification["root"] = json!({"path": "mapped", "readonly": false});
        namespace(specification);
    });
    fs::create_dir(bundle.path("mapped")).unwrap();
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(bundle.path("rootfs").join(name)).unwrap();
    }
    // The bundle's maker maps the ids; util-linux has it as an option of mount since 2.39, so it is done by a mount of ours.
    let helper = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["sleep", "60"]);
        namespace(specification);
    });
    give(&helper.path("rootfs"));
    assert!(helper.call_into(&["run", "--detach", &helper.id], "log"));
    let pid = helper.state()["pid"].as_i64().unwrap();
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).unwrap();
    let place = conex_sys::path::open_place(&bundle.path("rootfs")).unwrap();
    let tree = conex_sys::mount::clone_tree(std::os::fd::AsFd::as_fd(&place), false).unwrap();
    conex_sys::mount::map_ids(
        std::os::fd::AsFd::as_fd(&tree),
        std::os::fd::AsFd::as_fd(&namespace),
        false,
    )
    .unwrap();
    conex_sys::mount::attach_at(std::os::fd::AsFd::as_fd(&tree), &bundle.path("mapped")).unwrap();
    drop((place, tree, namespace));
    helper.succeed(&["delete", "--force", &helper.id]);

    let output = bundle.call(&["run", &bundle.id]);
    let unmounted = Command::new("umount").arg(bundle.path("mapped")).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0 0\n0 0\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(fs::metadata(bundle.path("rootfs/made")).unwrap().uid(), 0);
}

#[test]
fn an_existing_user_namespace_is_entered() {
    let first = mapped(Path::new(CONEX), "sleep 60", |_| ());
    assert!(first.call_into(&["run", "--detach", &first.id], "log"));
    let pid = first.state()["pid"].to_string();
    let second = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["busybox", "readlink", "/proc/self/ns/user"]);
        let namespaces = specification["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
        for namespace in namespaces.iter_mut().filter(|namespace| namespace["type"] == "network") {
            namespace["path"] = json!(format!("/proc/{pid}/ns/net"));
        }
    });
    give(&second.path("rootfs"));
    let expected = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(second.succeed(&["run", &second.id]).trim(), expected.to_str().unwrap());
    first.succeed(&["delete", "--force", &first.id]);
    first.assert_nothing_left();
}

#[test]
fn impossible_maps_are_refused_by_their_field() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let bundle = Bundle::new(|specification| change(specification));
        give(&bundle.path("rootfs"));
        let output = bundle.call(&["run", &bundle.id]);
        assert!(!output.status.success());
        bundle.assert_nothing_left();
        String::from_utf8(output.stderr).unwrap()
    };
    let words = refusal(&|specification| {
        namespace(specification);
        specification["linux"]["gidMappings"] = json!([]);
    });
    assert!(words.contains("gidMappings: is required"), "{words}");
    let words = refusal(&|specification| {
        namespace(specification);
        specification["linux"]["namespaces"].as_array_mut().unwrap().pop();
    });
    assert!(
        words.contains("user namespace mappings specified, but user namespace isn't enabled"),
        "{words}"
    );
    let words = refusal(&|specification| {
        namespace(specification);
        specification["process"]["user"]["uid"] = json!(70_000);
    });
    assert!(
        words.contains("not all of its ids are mapped in the user namespace"),
        "{words}"
    );
}
