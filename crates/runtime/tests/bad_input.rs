//! Bundles that are wrong, and bundles that the kernel refuses: it is said what and where, and nothing is left.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::path::Path;

use bundle::Bundle;
use serde_json::{Value, json};

/// What `create` says of a bundle that it refuses. Nothing is left of it.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    refused(&Bundle::new(change))
}

fn refused(bundle: &Bundle) -> String {
    let output = bundle.call(&["create", &bundle.id]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it was made");
    assert!(words.starts_with("conex-runtime: "), "{words}");
    bundle.assert_nothing_left();
    words
}

/// Sets a field by its path.
fn set(specification: &mut Value, pointer: &str, value: Value) {
    let mut place = specification;
    for name in pointer.split('/') {
        place = match name.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[name],
        };
    }
    *place = value;
}

/// A field, a value of the wrong form, and where the form is wrong.
type Wrong = (&'static str, Value, &'static str);

fn wrong_processes() -> Vec<Wrong> {
    vec![
        ("ociVersion", json!(3), "ociVersion"),
        ("process/user/uid", json!("root"), "process.user.uid"),
        (
            "process/user/additionalGids",
            json!([1, -1]),
            "process.user.additionalGids[1]",
        ),
        ("process/args", json!("true"), "process.args"),
        ("process/env", json!(["A=1", 2]), "process.env[1]"),
        (
            "process/capabilities/bounding",
            json!([7]),
            "process.capabilities.bounding[0]",
        ),
        (
            "process/rlimits",
            json!([{"type": "RLIMIT_NOPE", "hard": 1, "soft": 1}]),
            "process.rlimits[0].type",
        ),
    ]
}

fn wrong_others() -> Vec<Wrong> {
    let some = |key: &str, value: Value| json!({ key: value });
    vec![
        ("root", json!("rootfs"), "root"),
        ("mounts/2/destination", Value::Null, "mounts[2].destination"),
        ("mounts/0/options", json!([3]), "mounts[0].options[0]"),
        (
            "mounts",
            json!([{"type": "tmpfs"}]),
            "mounts[0]: missing field `destination`",
        ),
        (
            "linux/namespaces",
            json!([{"type": "nope"}]),
            "linux.namespaces[0].type",
        ),
        (
            "linux/resources/pids",
            some("limit", json!("many")),
            "linux.resources.pids.limit",
        ),
        (
            "linux/resources/memory",
            some("limit", json!(1.5)),
            "linux.resources.memory.limit",
        ),
        (
            "linux/seccomp",
            some("defaultAction", json!("SCMP_ACT_NOPE")),
            "linux.seccomp.defaultAction",
        ),
        (
            "linux/devices",
            json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]),
            "linux.devices[0].type",
        ),
        (
            "hooks",
            json!({"prestart": [{"args": ["x"]}]}),
            "hooks.prestart[0]: missing field `path`",
        ),
        ("annotations", json!({"key": 1}), "annotations.key"),
    ]
}

#[test]
fn a_field_of_the_wrong_form_is_named_with_its_place() {
    for (pointer, value, field) in [wrong_processes(), wrong_others()].concat() {
        let words = refusal(|specification| set(specification, pointer, value.clone()));
        let named = format!("/config.json: {field}");
        assert!(words.contains("parse /") && words.contains(&named), "{field}: {words}");
        assert!(words.contains(" at line 1 column "), "{field}: {words}");
    }
}

#[test]
fn text_that_is_no_json_is_told_by_its_place() {
    for (text, expected) in [
        (
            "{\n \"ociVersion\": \"1.0.2\",\n \"process\": {\"args\": [\"a\",]}\n}",
            "process.args: trailing comma at line 3 column 27",
        ),
        (
            "{\n \"ociVersion\": \"1.0.2\" \"root\": {}\n}",
            "expected `,` or `}` at line 2 column 24",
        ),
        (
            "{\"ociVersion\": \"1.0.2\"} x",
            "trailing characters at line 1 column 25",
        ),
        (
            "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"x",
            "EOF while parsing a string at line 1 column 43",
        ),
        ("", "EOF while parsing a value at line 1 column 0"),
    ] {
        let bundle = Bundle::new(|_| {});
        fs::write(bundle.path("config.json"), text).unwrap();
        let words = refused(&bundle);
        assert!(
            words.contains("/config.json: ") && words.contains(expected),
            "{text}: {words}"
        );
    }
    let bundle = Bundle::new(|_| {});
    fs::remove_file(bundle.path("config.json")).unwrap();
    let words = refused(&bundle);
    assert!(words.contains("/config.json: No such file or directory"), "{words}");
}

#[test]
fn what_is_well_formed_and_wrong_is_named_by_its_field() {
    for (pointer, value, expected) in [
        (
            "ociVersion",
            json!("2.0.0"),
            "ociVersion: \"2.0.0\" is no version 1.x.y",
        ),
        ("process", Value::Null, "process: is required"),
        ("root", Value::Null, "root: is required"),
        ("linux", Value::Null, "linux: is required"),
        ("process/args", json!([]), "process.args: is required"),
        (
            "process/cwd",
            json!("relative"),
            "process.cwd: \"relative\" is not an absolute path",
        ),
        (
            "process/oomScoreAdj",
            json!(5000),
            "Invalid value 5000, range for oom score adj is [-1000, 1000]",
        ),
        (
            "linux/sysctl",
            json!({"vm.swappiness": "1"}),
            "sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        ),
    ] {
        let words = refusal(|specification| set(specification, pointer, value.clone()));
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

/// A mount more.
fn mount(value: Value) -> Box<dyn Fn(&mut Value)> {
    Box::new(move |specification| specification["mounts"].as_array_mut().unwrap().push(value.clone()))
}

/// Another value of a field.
fn field(pointer: &'static str, value: Value) -> Box<dyn Fn(&mut Value)> {
    Box::new(move |specification| set(specification, pointer, value.clone()))
}

/// A bundle that is refused, and the words: the step, its object and the error.
type Refused = (Box<dyn Fn(&mut Value)>, [&'static str; 3]);

fn refused_mounts() -> Vec<Refused> {
    let bind = |source: &str| json!({"destination": "/dev/x", "type": "bind", "source": source, "options": ["bind"]});
    let tmpfs = |option: &str| json!({"destination": "/dev/x", "type": "tmpfs", "source": "x", "options": [option]});
    let unknown = json!({"destination": "/dev/x", "type": "nosuchfs", "source": "none"});
    let mqueue = |place: &str| json!({"destination": place, "type": "mqueue", "source": "mqueue"});
    vec![
        (mount(unknown), ["mount nosuchfs", "/dev/x", "no such device"]),
        (
            mount(bind("/no/such")),
            ["mount /no/such", "/dev/x", "no such file or directory"],
        ),
        (
            mount(tmpfs("size=bogus")),
            ["mount tmpfs", "/dev/x", "invalid argument"],
        ),
        (
            mount(tmpfs("nosuchoption=3")),
            ["mount tmpfs", "/dev/x", "invalid argument"],
        ),
        (
            mount(mqueue("/bin/busybox/x")),
            ["mount mqueue", "/bin/busybox/x", "not a directory"],
        ),
        (
            field("root/path", json!("/no/such")),
            ["mount the root file system", "/no/such", "no such file or directory"],
        ),
        (
            field("root/path", json!("/etc/hostname")),
            ["mount the root", "/etc/hostname", "not a directory"],
        ),
    ]
}

fn refused_parameters() -> Vec<Refused> {
    let device = json!([{"path": "/proc/x", "type": "c", "major": 1, "minor": 3}]);
    let rlimit = json!([{"type": "RLIMIT_NOFILE", "hard": 1_u64 << 40, "soft": 1}]);
    vec![
        (
            field("linux/sysctl", json!({"net.no.such": "1"})),
            ["write \"1\"", "/proc/sys/net/no/such", "no such file or directory"],
        ),
        (
            field("linux/sysctl", json!({"net.ipv4.ip_forward": "zzz"})),
            ["write \"zzz\"", "/proc/sys/net/ipv4/ip_forward", "invalid argument"],
        ),
        (
            field("linux/devices", device),
            ["make device", "/proc/x", "no such file or directory"],
        ),
        (
            field("process/rlimits", rlimit),
            ["setting rlimit", "RLIMIT_NOFILE", "operation not permitted"],
        ),
        (
            field("hostname", json!("x".repeat(65))),
            ["sethostname", "xxxxx", "invalid argument"],
        ),
    ]
}

fn refused_process() -> Vec<Refused> {
    let ids = |uid: u32, gid: u32, more: u32| json!({"uid": uid, "gid": gid, "additionalGids": [more]});
    let nobody = u32::MAX;
    vec![
        (
            field("process/user", ids(nobody, 0, 0)),
            ["become user", "4294967295:0", "not all of its ids are mapped"],
        ),
        (
            field("process/user", ids(0, nobody, 0)),
            ["become user", "0:4294967295", "not all of its ids are mapped"],
        ),
        (
            field("process/user", ids(0, 0, nobody)),
            ["become user", "0:0", "not all of its ids are mapped"],
        ),
        (
            field("process/cwd", json!("/bin/busybox")),
            ["chdir to cwd", "/bin/busybox", "not a directory"],
        ),
        (
            field("process/args", json!(["nosuch"])),
            ["exec", "nosuch", "not found in $PATH"],
        ),
        (
            field("process/args", json!(["/bin"])),
            ["exec", "/bin", "permission denied"],
        ),
    ]
}

fn refused_namespaces() -> Vec<Refused> {
    let entered = |kind: &str, path: &str| json!([{"type": "mount"}, {"type": kind, "path": path}]);
    let case = |kind: &'static str, path: &'static str, words| {
        let entered = entered(kind, path);
        let change = move |specification: &mut Value| {
            set(specification, "linux/namespaces", entered.clone());
            specification.as_object_mut().unwrap().remove("hostname");
        };
        (Box::new(change) as Box<dyn Fn(&mut Value)>, words)
    };
    vec![
        case(
            "ipc",
            "/no/such",
            ["open namespace", "/no/such", "o such file or directory"],
        ),
        case(
            "ipc",
            "/proc/self/ns/net",
            ["enter the Ipc namespace", "", "invalid argument"],
        ),
        case(
            "pid",
            "/proc/self/ns/net",
            ["enter", "pid namespace", "nvalid argument"],
        ),
        case(
            "network",
            "/etc/hostname",
            ["enter the Network namespace", "", "invalid argument"],
        ),
    ]
}

#[test]
fn what_the_kernel_refuses_is_named_with_step_object_and_error() {
    let all = [
        refused_mounts(),
        refused_parameters(),
        refused_process(),
        refused_namespaces(),
    ];
    for (change, expected) in all.into_iter().flatten() {
        let words = refusal(change);
        for part in expected {
            assert!(words.contains(part), "{expected:?}: {words}");
        }
    }
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named_with_its_file() {
    let first = Path::new("/sys/fs/cgroup/memory").exists();
    let quota = if first { "cpu.cfs_quota_us" } else { "cpu.max" };
    for (limit, value, file) in [
        (json!({"cpus": "999"}), "999", "cpuset.cpus"),
        (json!({"mems": "999"}), "999", "cpuset.mems"),
        (json!({"quota": 100, "period": 1}), "100", quota),
    ] {
        let words = refusal(|specification| specification["linux"]["resources"]["cpu"] = limit.clone());
        let written = format!("write \"{value}");
        assert!(words.contains(&written) && words.contains(file), "{file}: {words}");
        assert!(words.contains("(os error "), "{words}");
    }
}

#[test]
fn a_limit_of_memory_that_kills_the_first_process_is_the_reason() {
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["true"]);
        specification["linux"]["resources"]["memory"] = json!({"limit": 4096});
    });
    let output = bundle.call(&["run", &bundle.id]);
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("memory"), "{words}");
    bundle.assert_nothing_left();
}

#[test]
fn a_cgroup_s_path_does_not_lead_out_of_its_hierarchy() {
    let bundle = Bundle::new(|specification| {
        let path = specification["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
        specification["linux"]["cgroupsPath"] = json!(format!("/../../../../tmp/..{path}"));
        specification["process"]["args"] = json!(["cat", "/proc/self/cgroup"]);
    });
    let output = bundle.succeed(&["run", &bundle.id]);
    assert!(output.contains(&format!(":/{}\n", bundle.id)), "{output}");
    assert!(!Path::new("/tmp").join(&bundle.id).exists());
    bundle.assert_nothing_left();
}

#[test]
fn a_process_of_the_wrong_form_is_named_with_its_field() {
    let bundle = Bundle::new(|specification| specification["process"]["args"] = json!(["sleep", "60"]));
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    fs::write(
        bundle.path("process.json"),
        r#"{"cwd": "/", "user": {"uid": "x"}, "args": []}"#,
    )
    .unwrap();
    let output = bundle.call(&["exec", "--process", "process.json", &bundle.id]);
    assert_eq!(output.status.code(), Some(255));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("parse process.json: user.uid: ") && words.contains("line 1 column"),
        "{words}"
    );
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

/// No host of the tests has the file system mounted; runc 1.1 starts such a container, and gives it nothing.
#[test]
fn shares_of_caches_are_refused_where_there_are_none_to_be_had() {
    assert!(!Path::new("/sys/fs/resctrl/schemata").exists(), "this host could do it");
    let words = refusal(|specification| set(specification, "linux/intelRdt", json!({"closID": "gold"})));
    let expected = "intelRdt is specified in config, but Intel RDT is not supported or enabled";
    assert!(words.contains(expected), "{words}");
}
