//! The life of a container under the command line.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use bundle::{Bundle, CONEX, runc};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

fn says(script: &str) -> impl FnOnce(&mut Value) {
    let arguments = json!(["sh", "-c", script]);
    move |specification| specification["process"]["args"] = arguments
}

#[test]
fn a_created_container_waits_for_its_start_although_create_has_ended() {
    let bundle = Bundle::new(says("echo started; sleep 60"));
    assert!(bundle.call_into(&["create", "--pid-file", "pid", &bundle.id], "log"));
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(
        state["pid"].to_string(),
        fs::read_to_string(bundle.path("pid")).unwrap()
    );
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(bundle.state()["status"], "created");
    assert_eq!(
        fs::read_to_string(bundle.path("log")).unwrap(),
        "",
        "nothing of the program ran"
    );

    bundle.succeed(&["start", &bundle.id]);
    bundle.wait_for("log", "started");
    assert_eq!(bundle.state()["status"], "running");
    let again = bundle.call(&["start", &bundle.id]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot start an already running container"));
    let delete = bundle.call(&["delete", &bundle.id]);
    assert!(String::from_utf8_lossy(&delete.stderr).contains("that is not stopped: running"));

    bundle.succeed(&["kill", &bundle.id, "KILL"]);
    for _ in 0..100 {
        if bundle.state()["status"] == "stopped" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(
        (bundle.state()["status"].clone(), bundle.state()["pid"].clone()),
        (json!("stopped"), json!(0))
    );
    assert!(!bundle.call(&["kill", &bundle.id]).status.success());
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
    assert!(String::from_utf8_lossy(&bundle.call(&["state", &bundle.id]).stderr).contains("container does not exist"));
}

#[test]
fn an_id_is_taken_once() {
    let bundle = Bundle::new(says("sleep 60"));
    assert!(bundle.call_into(&["create", &bundle.id], "log"));
    let again = bundle.call(&["create", &bundle.id]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"));
    assert_eq!(bundle.state()["status"], "created", "the first one is unharmed");
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_container_whose_process_was_killed_before_the_start_cannot_be_started() {
    let bundle = Bundle::new(says("sleep 60"));
    assert!(bundle.call_into(&["create", &bundle.id], "log"));
    bundle.succeed(&["kill", &bundle.id, "KILL"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let start = bundle.call(&["start", &bundle.id]);
    assert!(String::from_utf8_lossy(&start.stderr).contains("cannot start a container that has stopped"));
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let bundle = Bundle::new(|specification| {
        says("tty; ls -l /proc/self/fd/0 /dev/console | grep -c pts/0")(specification);
        specification["process"]["terminal"] = json!(true);
    });
    let refused = bundle.call(&["create", &bundle.id]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("without setting console socket"));

    let path = bundle.path("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(bundle.call_into(
        &["create", "--console-socket", path.to_str().unwrap(), &bundle.id],
        "log"
    ));
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0_u8; 64];
    rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::empty(),
    )
    .unwrap();
    let received: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                Some(fds)
            } else {
                None
            }
        })
        .flatten()
        .collect();
    let [master] = <[OwnedFd; 1]>::try_from(received).expect("one descriptor");
    bundle.succeed(&["start", &bundle.id]);
    let mut text = String::new();
    // Reading ends with an error when the last slave is closed (pts(4)).
    let _ = fs::File::from(master).read_to_string(&mut text);
    assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text:?}");
    bundle.succeed(&["delete", "--force", &bundle.id]);
}

#[test]
fn hooks_run_in_order_with_the_state_on_standard_input() {
    let hooks = tempfile::TempDir::new().unwrap();
    let record = hooks.path().join("record");
    let hook = hooks.path().join("hook");
    let script = format!(
        "#!/bin/sh\nprintf '%s ' \"$1\" >> {0}; cat >> {0}; echo >> {0}\n",
        record.display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let entry =
        |name: &str| json!([{"path": hook, "args": ["hook", name], "env": ["PATH=/usr/bin:/bin"], "timeout": 10}]);
    let bundle = Bundle::new(|specification| {
        says("true")(specification);
        specification["hooks"] = json!({
            "prestart": entry("prestart"), "createRuntime": entry("createRuntime"),
            "poststart": entry("poststart"), "poststop": entry("poststop")
        });
    });
    bundle.succeed(&["run", &bundle.id]);
    let text = fs::read_to_string(&record).unwrap();
    let seen: Vec<(&str, Value)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, state)| (name, serde_json::from_str(state).unwrap()))
        .collect();
    let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["prestart", "createRuntime", "poststart", "poststop"]);
    let status: Vec<&str> = seen
        .iter()
        .map(|(_, state)| state["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["creating", "creating", "running", "stopped"]);
    assert!(seen.iter().all(|(_, state)| state["id"] == bundle.id.as_str()));
    assert!(seen[0].1["pid"].as_i64().unwrap() > 0);
}

#[test]
fn a_hook_that_fails_before_the_start_undoes_everything() {
    let bundle = Bundle::new(|specification| {
        says("true")(specification);
        specification["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    let output = bundle.call(&["create", &bundle.id]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("createRuntime hook /bin/false: exit status: 1"));
    bundle.assert_nothing_left();
}

#[test]
fn what_is_not_done_is_refused_clearly_and_leaves_nothing() {
    let bundle = Bundle::new(says("true"));
    let refusal = |arguments: &[&str]| {
        let output = bundle.call(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refusal(&["create", "../escape"]).contains("invalid container ID format"));
    assert!(refusal(&["checkpoint", &bundle.id]).contains("is not supported"));
    bundle.assert_nothing_left();
}

#[test]
fn errors_are_logged_as_json_for_managers() {
    let bundle = Bundle::new(|specification| specification["process"]["args"] = json!(["nosuch"]));
    let log = bundle.path("log.json");
    assert!(
        !bundle
            .call(&[
                "--log",
                log.to_str().unwrap(),
                "--log-format",
                "json",
                "create",
                &bundle.id
            ])
            .status
            .success()
    );
    let entry: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(entry["level"], "error");
    assert!(
        entry["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found in $PATH")
    );
}

#[test]
fn containers_are_listed() {
    let bundle = Bundle::new(says("sleep 60"));
    assert_eq!(bundle.succeed(&["list", "--quiet"]), "");
    assert!(bundle.call_into(&["create", &bundle.id], "log"));
    assert_eq!(bundle.succeed(&["list", "-q"]), format!("{}\n", bundle.id));
    let list: Value = serde_json::from_str(&bundle.succeed(&["list", "--format", "json"])).unwrap();
    assert_eq!(list[0]["status"], "created");
    bundle.succeed(&["delete", &bundle.id]);
}

#[test]
fn without_pivot_root_the_root_is_moved_to_its_place_as_under_runc() {
    let script = "ls / | sort; grep -c ' / / ' /proc/self/mountinfo; pwd";
    let run = |runtime: &Path| {
        let bundle = Bundle::of(runtime, says(script));
        let output = bundle.succeed(&["run", "--no-pivot", &bundle.id]);
        bundle.assert_nothing_left();
        output
    };
    let ours = run(Path::new(CONEX));
    assert_eq!(ours, run(&runc()));
    assert!(!ours.contains("home"), "{ours}");
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn runs(what: &str, change: impl FnOnce(&mut Value)) {
    let bundle = Bundle::new(|specification| {
        says("true")(specification);
        change(specification);
    });
    let output = bundle.call(&["run", &bundle.id]);
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The map of ids that changes none.
fn same_ids() -> Value {
    json!([{"containerID": 0, "hostID": 0, "size": 10}])
}

/// A mount with this option, of a kind that has it.
fn mount_with(number: usize, option: &str) -> Value {
    let (kind, source) = match option {
        "bind" | "rbind" | "idmap" | "ridmap" => ("bind", "rootfs"),
        _ => ("tmpfs", "tmpfs"),
    };
    let target = match option {
        "remount" => "/dev".to_owned(),
        _ => format!("/dev/o{number}"),
    };
    let mut mount = json!({"destination": target, "type": kind, "source": source, "options": [option]});
    if option.ends_with("idmap") {
        mount["options"] = json!(["bind", option]);
        (mount["uidMappings"], mount["gidMappings"]) = (same_ids(), same_ids());
    }
    mount
}

#[test]
fn every_feature_that_is_told_is_there() {
    let features: Value = serde_json::from_str(&Bundle::new(says("true")).succeed(&["features"])).unwrap();
    runs("mount options", |specification| {
        let options = strings(&features["mountOptions"]);
        let mounts = options
            .iter()
            .enumerate()
            .map(|(number, option)| mount_with(number, option));
        specification["mounts"].as_array_mut().unwrap().extend(mounts);
    });
    for kind in strings(&features["linux"]["namespaces"]) {
        runs(&kind, |specification| {
            let list = specification["linux"]["namespaces"].as_array_mut().unwrap();
            if !list.iter().any(|namespace| namespace["type"] == json!(kind)) {
                list.push(json!({"type": kind}));
            }
            if kind == "user" {
                specification["linux"]["uidMappings"] = same_ids();
                specification["linux"]["gidMappings"] = same_ids();
            }
        });
    }
    runs("hooks", |specification| {
        let hook = json!([{"path": "/bin/true"}]);
        let points = strings(&features["hooks"])
            .into_iter()
            .map(|point| (point, hook.clone()));
        specification["hooks"] = points.collect();
    });
    let seccomp = &features["linux"]["seccomp"];
    let rules = strings(&seccomp["operators"]).into_iter().map(|operator| {
        let argument = json!({"index": 1, "value": 77, "valueTwo": 77, "op": operator});
        json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [argument]})
    });
    let rules: Vec<Value> = rules.collect();
    for flag in strings(&seccomp["supportedFlags"]) {
        // Without a listener the kernel refuses it.
        if flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            runs(&flag, |specification| {
                let architectures = &seccomp["archs"];
                specification["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
                    "architectures": architectures, "syscalls": rules});
            });
        }
    }
}

#[test]
fn features_and_version_are_told() {
    let bundle = Bundle::new(says("true"));
    let features: Value = serde_json::from_str(&bundle.succeed(&["features"])).unwrap();
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert!(bundle.succeed(&["--version"]).starts_with("conex-runtime version "));
}
