//! What limits cost with version 2 of control groups: one open, one write and one close of each file, counted by strace(1).
//! `cargo xtask vm limits` runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use bundle::Bundle;
use serde_json::{Value, json};

/// What setting a file may cost.
const SET: [&str; 3] = ["openat", "write", "close"];

/// Files that are set for `limits`.
const FILES: [&str; 14] = [
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
    "io.max",
    "io.weight",
    "memory.high",
    "memory.low",
    "memory.max",
    "memory.swap.max",
    "pids.max",
];

/// One of every kind; all rates of one disk.
fn limits() -> Value {
    let partitions = fs::read_to_string("/proc/partitions").unwrap();
    let disk: Vec<&str> = partitions.lines().nth(2).unwrap().split_whitespace().collect();
    let number = |at: usize| disk[at].parse::<u32>().unwrap();
    let rate = |rate: u32| json!([{"major": number(0), "minor": number(1), "rate": rate}]);
    json!({
        "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "burst": 1000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}],
        "blockIO": {
            "weight": 300,
            "throttleReadBpsDevice": rate(1 << 20),
            "throttleWriteBpsDevice": rate(2 << 20),
            "throttleReadIOPSDevice": rate(300),
            "throttleWriteIOPSDevice": rate(400)
        },
        "unified": {"memory.high": "50331648"}
    })
}

fn with(resources: &Value, arguments: &[&str]) -> Bundle {
    Bundle::new(|specification| {
        specification["process"]["args"] = json!(arguments);
        let devices = specification["linux"]["resources"]["devices"].take();
        specification["linux"]["resources"] = resources.clone();
        specification["linux"]["resources"]["devices"] = devices;
    })
}

/// Runs a command of the runtime under strace(1).
fn traced(bundle: &Bundle, arguments: &[&str]) -> Output {
    let command = bundle.command(arguments);
    let mut traced = Command::new("strace");
    // Every system call that has a path or a descriptor, descriptors with their paths.
    traced.args([
        "-f",
        "-qq",
        "-y",
        "-s",
        "256",
        "-e",
        "trace=%file,%desc",
        "-e",
        "signal=none",
        "-o",
    ]);
    traced
        .arg(bundle.path("calls"))
        .arg(command.get_program())
        .args(command.get_args());
    traced.current_dir(bundle.directory.path()).output().unwrap()
}

/// The system calls that were made for each file of limits of the container's control group, in their order.
fn calls(bundle: &Bundle) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(bundle.path("calls")).unwrap();
    let directory = format!("/sys/fs/cgroup/{}/", bundle.id);
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // The second part of a call that another thread's came into the middle of is none of its own.
    for line in text.lines().filter(|line| !line.contains(" resumed>")) {
        let Some((_, rest)) = line.split_once(&directory) else {
            continue;
        };
        let file = rest.split(['"', '>']).next().unwrap();
        let call = line.split_once(' ').unwrap().1.trim_start().split('(').next().unwrap();
        // What the group itself is controlled by is no limit.
        if !file.starts_with("cgroup.") {
            calls.entry(file.to_owned()).or_default().push(call.to_owned());
        }
    }
    calls
}

/// Asserts that these files were set, and that nothing else was done for limits.
fn assert_set(bundle: &Bundle, files: &[&str]) {
    let mut calls = calls(bundle);
    if files.contains(&"io.weight") {
        // The file of the scheduler that goes before it is tried: this kernel has none.
        assert_eq!(calls.remove("io.bfq.weight").unwrap(), ["openat"]);
    }
    let set: BTreeMap<String, Vec<String>> = files
        .iter()
        .map(|file| ((*file).to_owned(), SET.map(str::to_owned).to_vec()))
        .collect();
    assert_eq!(calls, set);
}

#[test]
#[ignore = "needs a host with control groups of version 2"]
fn each_file_of_a_new_container_is_opened_written_and_closed_once() {
    let bundle = with(&limits(), &["true"]);
    let run = traced(&bundle, &["run", &bundle.id]);
    assert!(run.status.success(), "{run:?}");
    assert_set(&bundle, &FILES);
    // The control: nothing is done where nothing is limited.
    let bundle = with(&json!({}), &["true"]);
    let run = traced(&bundle, &["run", &bundle.id]);
    assert!(run.status.success(), "{run:?}");
    assert_set(&bundle, &[]);
}

#[test]
#[ignore = "needs a host with control groups of version 2"]
fn so_is_each_file_that_an_update_sets() {
    let bundle = with(&json!({}), &["sleep", "1000"]);
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "output"));
    fs::write(bundle.path("limits.json"), limits().to_string()).unwrap();
    let update = traced(&bundle, &["update", "--resources", "limits.json", &bundle.id]);
    assert!(update.status.success(), "{update:?}");
    assert_set(&bundle, &FILES);
    let group = &bundle.cgroups()[0];
    let values = [
        ("memory.max", "67108864"),
        ("cpu.max", "20000 50000"),
        ("pids.max", "20"),
    ];
    for (file, value) in values {
        assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), value, "{file}");
    }
    let rates = fs::read_to_string(group.join("io.max")).unwrap();
    let wanted = "rbps=1048576 wbps=2097152 riops=300 wiops=400";
    assert!(rates.contains(wanted), "{rates}");
}
