//! A caller who is not root, beside runc.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bundle::{Bundle, CONEX, runc};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Who calls.
const ID: u32 = 1000;

/// A runtime as a user without rights calls it; the program is copied to where the user reaches it.
fn unprivileged(runtime: &Path, place: &TempDir) -> PathBuf {
    let program = place.path().join("program");
    fs::copy(runtime, &program).unwrap();
    let script = format!(
        "#!/bin/sh\nexec setpriv --reuid {ID} --regid {ID} --clear-groups --inh-caps=-all {} \"$@\"\n",
        program.display()
    );
    let path = place.path().join("runtime");
    fs::write(&path, script).unwrap();
    for path in [&path, &program, &place.path().to_path_buf()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    path
}

/// A bundle of the user's, with the namespaces and mappings of `spec --rootless`.
fn bundle(runtime: &Path, script: &str, change: impl Fn(&mut Value)) -> Bundle {
    let bundle = Bundle::of(runtime, |specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        let linux = specification["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        let mapping = json!([{"containerID": 0, "hostID": ID, "size": 1}]);
        linux.insert("uidMappings".to_owned(), mapping.clone());
        linux.insert("gidMappings".to_owned(), mapping);
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
        for mount in specification["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys" {
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        change(specification);
    });
    let owned = Command::new("chown")
        .args(["-R", &format!("{ID}:{ID}")])
        .arg(bundle.directory.path())
        .status();
    assert!(owned.unwrap().success());
    bundle
}

/// Does the same as a user under each runtime, and compares what comes of it.
fn compare<T: PartialEq + std::fmt::Debug>(act: impl Fn(&Path) -> T) -> T {
    let [ours, theirs] = [PathBuf::from(CONEX), runc()].map(|runtime| {
        let place = TempDir::new().unwrap();
        act(&unprivileged(&runtime, &place))
    });
    assert_eq!(ours, theirs, "ours and runc's");
    ours
}

#[test]
fn a_container_runs_for_a_user_without_rights() {
    let script = "id -u; cat /proc/self/uid_map /proc/self/setgroups; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
        ls /; ls -l /dev/null | cut -c1-10; touch /made && echo made; hostname; exit 3";
    let (code, output) = compare(|runtime| {
        let bundle = bundle(runtime, script, |specification| {
            specification["root"]["readonly"] = json!(false)
        });
        let output = bundle.call(&["run", &bundle.id]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors, "");
        bundle.assert_nothing_left();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    });
    assert_eq!(code, Some(3));
    assert!(output.starts_with("0\n"), "{output}");
}

#[test]
fn what_is_done_to_a_container_is_done_by_its_user() {
    compare(|runtime| {
        let bundle = bundle(
            runtime,
            "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done",
            |_| {},
        );
        assert!(
            bundle.call_into(&["run", "--detach", &bundle.id], "log"),
            "{}",
            log(&bundle)
        );
        bundle.wait_for("log", "up");
        let state = bundle.state()["status"].clone();
        let told = |arguments: &[&str]| {
            let output = bundle.call(arguments);
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let exec = told(&[
            "exec",
            &bundle.id,
            "sh",
            "-c",
            "id -u; id -G; grep Cap /proc/self/status; exit 5",
        ]);
        let missing = told(&["exec", &bundle.id, "nosuch"]);
        let groups = told(&["exec", "--additional-gids", "7", &bundle.id, "true"]);
        let listed = told(&["list", "--quiet"]).1.replace(&bundle.id, "ID");
        let paused = told(&["pause", &bundle.id]).0;
        let killed = told(&["kill", &bundle.id, "TERM"]);
        for _ in 0..200 {
            if bundle.state()["status"] == "stopped" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let stopped = bundle.state()["status"].clone();
        let deleted = told(&["delete", &bundle.id]);
        bundle.assert_nothing_left();
        (state, exec, missing, groups.0, listed, paused, killed, stopped, deleted)
    });
}

fn log(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.path("log")).unwrap_or_default()
}

#[test]
fn a_user_has_a_terminal() {
    let output = compare(|runtime| {
        let bundle = bundle(
            runtime,
            "tty; stty size | wc -l; ls -l /dev/console | cut -c1-1",
            |specification| {
                specification["process"]["terminal"] = json!(true);
            },
        );
        let line = format!(
            "{} --root {} run {}",
            runtime.display(),
            bundle.path("state").display(),
            bundle.id
        );
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(bundle.directory.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout)
                .unwrap()
                .replace("^@", "")
                .replace('\r', ""),
        )
    });
    assert_eq!(output.0, Some(0), "{output:?}");
}

#[test]
fn what_a_user_may_not_is_an_error() {
    compare(|runtime| {
        let refused = |change: fn(&mut Value)| {
            let bundle = bundle(runtime, "true", change);
            let output = bundle.call(&["run", &bundle.id]);
            bundle.assert_nothing_left();
            let errors = String::from_utf8(output.stderr).unwrap();
            let words = [
                "rootless container requires user namespaces",
                "cannot set pids limit: container could not join or create cgroup",
                "cannot set any additional groups in a rootless container",
            ];
            let said: Vec<&str> = words.into_iter().filter(|words| errors.contains(words)).collect();
            assert_eq!(said.len(), 1, "{errors}");
            (output.status.success(), said)
        };
        [
            refused(|specification| {
                let namespaces = specification["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != "user");
                specification["linux"]["uidMappings"] = json!([]);
                specification["linux"]["gidMappings"] = json!([]);
            }),
            refused(|specification| specification["linux"]["resources"] = json!({"pids": {"limit": 5}})),
            refused(|specification| specification["process"]["user"]["additionalGids"] = json!([7])),
        ]
    });
}

#[test]
fn the_specification_for_a_user_is_the_one_that_runc_writes() {
    let written = |runtime: &Path| -> Value {
        let place = TempDir::new().unwrap();
        chown(place.path(), Some(ID), Some(ID)).unwrap();
        let done = Command::new(runtime)
            .args(["spec", "--rootless", "--bundle"])
            .arg(place.path())
            .status();
        assert!(done.unwrap().success());
        serde_json::from_str(&fs::read_to_string(place.path().join("config.json")).unwrap()).unwrap()
    };
    compare(|runtime| {
        let specification = written(runtime);
        let linux = &specification["linux"];
        let kinds = |list: &Value, key: &str| {
            let list = list.as_array().unwrap().iter();
            let mut kinds: Vec<String> = list.map(|one| one[key].to_string()).collect();
            // runc adds one on version 2 of control groups alone.
            kinds.retain(|kind| kind != "\"cgroup\"");
            kinds.sort();
            kinds
        };
        (
            linux["uidMappings"].clone(),
            linux["gidMappings"].clone(),
            linux["resources"].clone(),
            kinds(&linux["namespaces"], "type"),
            kinds(&specification["mounts"], "destination"),
            specification["mounts"]
                .as_array()
                .unwrap()
                .iter()
                .find(|mount| mount["destination"] == "/sys")
                .cloned(),
        )
    });
}
