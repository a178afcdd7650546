//! Limits bind: containers run into them, and what they are kept from is seen.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use conex_tests::{Disk, Sandbox, eventually};

/// Whether the host has version 1 of control groups, or a hybrid of both.
fn is_version_1() -> bool {
    !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A file of a container's control group, by its name on version 1 and on version 2.
fn limit(sandbox: &Sandbox, id: &str, names: [&str; 2]) -> Option<String> {
    let directories = sandbox.cgroups().into_iter().filter(|path| path.ends_with(id));
    let files = directories.flat_map(|directory| names.map(|name| directory.join(name)));
    let mut texts = files.filter_map(|file| fs::read_to_string(file).ok());
    texts.next().map(|text| text.trim().to_owned())
}

/// A container that sleeps.
fn sleeper(sandbox: &Sandbox, options: &[&str]) -> String {
    sandbox.ok(&[&["run", "-d"], options, &["busybox", "sleep", "1000"]].concat())
}

/// CPU time of a container in seconds.
fn cpu_time(sandbox: &Sandbox, id: &str) -> f64 {
    let stats = sandbox.request("GET", &format!("/containers/{id}/stats?stream=0&one-shot=1"), "");
    let stats: serde_json::Value = serde_json::from_str(&stats.1).unwrap();
    stats["cpu_stats"]["cpu_usage"]["total_usage"].as_f64().unwrap() / 1e9
}

#[test]
fn a_quota_keeps_a_container_from_the_rest_of_a_cpu() {
    let sandbox = Sandbox::new();
    let spin = |options: &[&str]| {
        sandbox.ok(&[&["run", "-d"], options, &["busybox", "sh", "-c", "while :; do :; done"]].concat())
    };
    let id = spin(&["--cpus", "0.2"]);
    let share = || {
        let (begun, before) = (Instant::now(), cpu_time(&sandbox, &id));
        thread::sleep(Duration::from_secs(2));
        (cpu_time(&sandbox, &id) - before) / begun.elapsed().as_secs_f64()
    };
    let (limited, raised) = (share(), {
        sandbox.ok(&["update", "--cpus", "0.6", &id]);
        share()
    });
    assert!(limited < 0.25, "{limited} of a CPU, and 0.2 were given");
    assert!(raised < 0.7, "{raised} of a CPU, and 0.6 were given");
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn a_disk_is_written_and_read_no_faster_than_allowed() {
    let sandbox = Sandbox::new();
    let disk = Disk::mount("ext4", 64, &sandbox.dir().join("disk"));
    let device = disk.device();
    let bind = format!("{}:/disk", disk.path().display());
    // Three mebibytes, past the cache; an operation is of 64 KiB.
    let write = "dd if=/dev/zero of=/disk/file bs=64k count=48 oflag=direct 2>/dev/null";
    let read = "dd if=/disk/file of=/dev/null bs=64k iflag=direct 2>/dev/null";
    sandbox.run(&["-v", &bind], write);
    for (option, rate, script) in [
        ("--device-write-bps", "2mb", write),
        ("--device-read-bps", "2mb", read),
        ("--device-write-iops", "32", write),
        ("--device-read-iops", "32", read),
    ] {
        let begun = Instant::now();
        sandbox.run(&["-v", &bind, option, &format!("{device}:{rate}")], script);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1200), "{option} {rate}: {took:?}");
    }
    // It is raised, lowered and taken back while a container runs, which the CLI has no flags for.
    let id = sleeper(&sandbox, &["-v", &bind, "--device-write-bps", &format!("{device}:1mb")]);
    let update = |list: &str| {
        let body = format!(r#"{{"BlkioDeviceWriteBps":{list}}}"#);
        let (status, body) = sandbox.request("POST", &format!("/containers/{id}/update"), &body);
        assert_eq!(status, 200, "{body}");
    };
    let files = ["blkio.throttle.write_bps_device", "io.max"];
    assert!(limit(&sandbox, &id, files).unwrap().contains("1048576"));
    update(&format!(r#"[{{"Path":"{device}","Rate":2097152}}]"#));
    let begun = Instant::now();
    sandbox.ok(&["exec", &id, "sh", "-c", write]);
    assert!(begun.elapsed() >= Duration::from_millis(1200), "{:?}", begun.elapsed());
    update("[]");
    assert!(!limit(&sandbox, &id, files).unwrap().contains("wbps=2097152"));
    assert!(!limit(&sandbox, &id, files).unwrap().contains(" 2097152"));
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn what_is_no_block_device_is_no_device_to_limit() {
    let sandbox = Sandbox::new();
    for (path, words) in [
        ("/dev/null", "\"/dev/null\": not a block device"),
        ("/dev/nosuch", "\"/dev/nosuch\": No such file"),
    ] {
        let said = sandbox.docker(&[
            "run",
            "--rm",
            "--device-read-bps",
            &format!("{path}:1mb"),
            "busybox",
            "true",
        ]);
        assert!(said.code != 0 && said.err.contains(words), "{said:?}");
    }
    let said = sandbox.docker(&["run", "--rm", "--blkio-weight", "5", "busybox", "true"]);
    assert!(
        said.err.contains("Range of blkio weight is from 10 to 1000"),
        "{said:?}"
    );
    eventually("nothing is left", || sandbox.remains().is_empty());
}

#[test]
fn a_container_without_the_oom_killer_waits_for_memory() {
    if !is_version_1() {
        // Version 2 has no such switch, and Docker says so.
        let sandbox = Sandbox::new();
        let said = sandbox.docker(&["run", "--rm", "-m", "64m", "--oom-kill-disable", "busybox", "true"]);
        assert!(
            said.code == 0 && said.err.contains("OomKillDisable discarded"),
            "{said:?}"
        );
        return;
    }
    let sandbox = Sandbox::new();
    // By its own hand: to a system call that fills memory which is not there the kernel answers with an error.
    let eat = r#"awk 'BEGIN { text = "x"; while (length(text) < 60000000) text = text text }'"#;
    let options = ["-m", "16m", "--memory-swap", "16m", "--oom-kill-disable"];
    let id = sandbox.ok(&[&["run", "-d"], &options[..], &["busybox", "sh", "-c", eat]].concat());
    let is_waiting = || {
        let control = limit(&sandbox, &id, ["memory.oom_control", ""]).unwrap();
        control.contains("oom_kill_disable 1") && control.contains("under_oom 1")
    };
    eventually("it waits", is_waiting);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}}", &id]), "true");
    sandbox.ok(&["update", "-m", "256m", "--memory-swap", "256m", &id]);
    assert_eq!(sandbox.ok(&["wait", &id]), "0");
    let form = "{{.State.OOMKilled}} {{.HostConfig.OomKillDisable}}";
    assert_eq!(sandbox.ok(&["inspect", "-f", form, &id]), "false true");
    sandbox.ok(&["rm", &id]);
    let said = sandbox.docker(&["run", "--rm", "--oom-kill-disable", "busybox", "true"]);
    let warned = "OOM killer is disabled for the container, but no memory limit is set";
    assert!(said.err.contains(warned), "{said:?}");
}

#[test]
fn the_rarer_limits_are_in_the_kernel_and_change() {
    let sandbox = Sandbox::new();
    let id = sleeper(
        &sandbox,
        &[
            "-m",
            "64m",
            "--memory-reservation",
            "32m",
            "--cpu-shares",
            "512",
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "25000",
        ],
    );
    let value = |one: &str, two: &str| limit(&sandbox, &id, [one, two]).unwrap();
    let of_versions = |one: &str, two: &str| if is_version_1() { one.to_owned() } else { two.to_owned() };
    assert_eq!(value("memory.soft_limit_in_bytes", "memory.low"), "33554432");
    assert_eq!(value("cpu.shares", "cpu.weight"), of_versions("512", "59"));
    assert_eq!(
        value("cpu.cfs_quota_us", "cpu.max"),
        of_versions("25000", "25000 50000")
    );
    sandbox.ok(&["update", "--cpu-shares", "1024", "--memory-reservation", "16m", &id]);
    assert_eq!(value("memory.soft_limit_in_bytes", "memory.low"), "16777216");
    assert_eq!(value("cpu.shares", "cpu.weight"), of_versions("1024", "100"));
    if is_version_1() {
        let body = r#"{"MemorySwappiness":7,"OomKillDisable":true}"#;
        let (status, body) = sandbox.request("POST", &format!("/containers/{id}/update"), body);
        assert_eq!(status, 200, "{body}");
        assert_eq!(value("memory.swappiness", ""), "7");
        assert!(value("memory.oom_control", "").contains("oom_kill_disable 1"));
        let body = r#"{"OomKillDisable":false}"#;
        sandbox.request("POST", &format!("/containers/{id}/update"), body);
        assert!(value("memory.oom_control", "").contains("oom_kill_disable 0"));
        assert_eq!(value("memory.swappiness", ""), "7", "it was not spoken of");
    }
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn real_time_processes_have_what_the_daemon_gives() {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        let sandbox = Sandbox::new();
        let said = sandbox.docker(&["run", "--rm", "--cpu-rt-runtime", "1000", "busybox", "true"]);
        let words = "Your kernel does not support CPU real-time scheduler";
        assert!(said.code == 125 && said.err.contains(words), "{said:?}");
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.terminate();
    sandbox.set_flags(&["--cpu-rt-runtime", "20000"]);
    sandbox.start(&[]);
    let id = sleeper(&sandbox, &["--cpu-rt-runtime", "10000", "--cpu-rt-period", "500000"]);
    assert_eq!(limit(&sandbox, &id, ["cpu.rt_runtime_us", ""]).unwrap(), "10000");
    assert_eq!(limit(&sandbox, &id, ["cpu.rt_period_us", ""]).unwrap(), "500000");
    let said = sandbox.docker(&["run", "--rm", "--cpu-rt-runtime", "900000", "busybox", "true"]);
    assert!(
        said.code != 0 && said.err.contains("cpu.rt_runtime_us"),
        "more than all containers together have: {said:?}"
    );
    sandbox.ok(&["rm", "-f", &id]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}

#[test]
fn rules_of_devices_are_changed_while_a_container_runs() {
    let sandbox = Sandbox::new();
    let disk = Disk::mount("ext4", 16, &sandbox.dir().join("disk"));
    let id = sleeper(&sandbox, &[]);
    let number = fs::metadata(disk.device()).unwrap().rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let own = format!("b {major} {minor}");
    let reads = |device: &str| {
        let script = format!("rm -f /d; mknod /d {device} && : < /d");
        sandbox.docker(&["exec", &id, "sh", "-c", &script]).code == 0
    };
    let update = |rules: &str| {
        let body = format!(r#"{{"DeviceCgroupRules":{rules}}}"#);
        sandbox.request("POST", &format!("/containers/{id}/update"), &body)
    };
    // The disk is nobody's; /dev/zero is everybody's.
    assert!(!reads(&own) && reads("c 1 5"));
    assert_eq!(update(&format!(r#"["b {major}:{minor} r"]"#)).0, 200);
    assert!(reads(&own) && reads("c 1 5"));
    assert_eq!(update("[]").0, 200);
    assert!(!reads(&own) && reads("c 1 5"));
    let (status, body) = update(r#"["c 1:11 z"]"#);
    assert!(status == 400, "{status} {body}");
    let (status, body) = sandbox.request(
        "POST",
        &format!("/containers/{id}/update"),
        r#"{"Ulimits":[{"Name":"nofile","Soft":1,"Hard":1}]}"#,
    );
    assert!(status == 400 && body.contains("Ulimits"), "{status} {body}");
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn permissions_of_a_device_are_those_that_are_given() {
    let sandbox = Sandbox::new();
    let disk = Disk::mount("ext4", 16, &sandbox.dir().join("disk"));
    let both = "( : < /dev/mine ) 2>/dev/null && echo read; ( : > /dev/mine ) 2>/dev/null && echo written";
    let run = |permissions: &str| {
        let device = format!("{}:/dev/mine:{permissions}", disk.device());
        sandbox
            .docker(&["run", "--rm", "--device", &device, "busybox", "sh", "-c", both])
            .out
    };
    assert_eq!(run("r"), "read");
    assert_eq!(run("w"), "written");
    assert_eq!(run("rw"), "read\nwritten");
    assert_eq!(run("m"), "");
}

#[test]
fn a_container_has_the_daemons_limits_where_it_says_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.terminate();
    sandbox.set_flags(&["--default-shm-size", "8m", "--default-ulimit", "nofile=100:200"]);
    sandbox.start(&[]);
    let script = "df -k /dev/shm | tail -1 | awk '{print $2}'; ulimit -Sn; ulimit -Hn";
    assert_eq!(sandbox.run(&[], script), "8192\n100\n200");
    assert_eq!(
        sandbox.run(&["--shm-size", "4m", "--ulimit", "nofile=50:60"], script),
        "4096\n50\n60"
    );
    let full = "dd if=/dev/zero of=/dev/shm/x bs=1M count=9 2>&1 | grep -o 'No space left on device'";
    assert_eq!(sandbox.run(&[], full), "No space left on device");
    sandbox.terminate();
    for (flags, words) in [
        (["--default-shm-size", "much"], "invalid default shm size: much"),
        (["--default-ulimit", "nofile"], "invalid ulimit argument: nofile"),
    ] {
        sandbox.set_flags(&flags);
        let said = sandbox.refused_start();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn raw_files_are_for_version_2() {
    let sandbox = Sandbox::new();
    let high = ["--annotation", "conex.cgroup.memory.high=33554432"];
    if is_version_1() {
        let said = sandbox.docker(&[&["run", "--rm"], &high[..], &["busybox", "true"]].concat());
        let words = "conex.cgroup.memory.high: this host has version 1 of control groups";
        assert!(said.code == 125 && said.err.contains(words), "{said:?}");
    } else {
        let id = sleeper(&sandbox, &high);
        assert_eq!(limit(&sandbox, &id, ["", "memory.high"]).unwrap(), "33554432");
        let said = sandbox.docker(&[
            "run",
            "--rm",
            "--annotation",
            "conex.cgroup.memory.nosuch=1",
            "busybox",
            "true",
        ]);
        assert!(said.code != 0 && said.err.contains("memory.nosuch"), "{said:?}");
    }
    let said = sandbox.docker(&[
        "run",
        "--rm",
        "--annotation",
        "conex.cgroup.cgroup.procs=1",
        "busybox",
        "true",
    ]);
    assert!(said.err.contains("not the name of a controller's file"), "{said:?}");
}

#[test]
fn block_io_is_counted() {
    let sandbox = Sandbox::new();
    let disk = Disk::mount("ext4", 64, &sandbox.dir().join("disk"));
    let bind = format!("{}:/disk", disk.path().display());
    // Newer kernels count on version 1 from the first limit of a device on.
    let limit = format!("{}:1gb", disk.device());
    let id = sleeper(&sandbox, &["-v", &bind, "--device-write-bps", &limit]);
    let moved = |operation: &str| {
        let (_, stats) = sandbox.request("GET", &format!("/containers/{id}/stats?stream=0&one-shot=1"), "");
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        let entries = stats["blkio_stats"]["io_service_bytes_recursive"].as_array().cloned();
        let of = entries.unwrap_or_default().into_iter();
        let of = of.filter(|entry| entry["op"].as_str().unwrap().eq_ignore_ascii_case(operation));
        of.map(|entry| entry["value"].as_u64().unwrap()).sum::<u64>()
    };
    let (read, written) = (moved("read"), moved("write"));
    sandbox.ok(&[
        "exec",
        &id,
        "dd",
        "if=/dev/zero",
        "of=/disk/file",
        "bs=64k",
        "count=48",
        "oflag=direct",
    ]);
    sandbox.ok(&[
        "exec",
        &id,
        "dd",
        "if=/disk/file",
        "of=/dev/null",
        "bs=64k",
        "iflag=direct",
    ]);
    assert!(moved("write") - written >= 3 << 20, "{}", moved("write"));
    assert!(moved("read") - read >= 3 << 20, "{}", moved("read"));
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn a_container_that_is_short_of_memory_is_told_of_at_once() {
    let mut sandbox = Sandbox::new();
    let eat = r#"awk 'BEGIN { text = "x"; while (length(text) < 60000000) text = text text }'"#;
    let script = format!("{eat}; sleep 1000");
    let options = ["-m", "16m", "--memory-swap", "16m"];
    let id = sandbox.ok(&[&["run", "-d"], &options[..], &["busybox", "sh", "-c", &script]].concat());
    let form = "{{.State.OOMKilled}} {{.State.Running}}";
    let shown = |sandbox: &Sandbox| sandbox.ok(&["inspect", "-f", form, &id]);
    eventually("the kill is told", || shown(&sandbox) == "true true");
    let events = |sandbox: &Sandbox| {
        let now = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
        sandbox.ok(&["events", "--since", "1h", "--until", &now, "--filter", "event=oom"])
    };
    assert_eq!(events(&sandbox).lines().count(), 1);
    // Another kill, and a daemon that comes after it.
    let said = sandbox.docker(&["exec", &id, "sh", "-c", eat]);
    assert_eq!(said.code, 137, "{said:?}");
    eventually("it is told again", || events(&sandbox).lines().count() == 2);
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(shown(&sandbox), "true true");
    sandbox.ok(&["restart", "-t", "0", &id]);
    eventually("the next run has its own", || events(&sandbox).lines().count() >= 3);
    sandbox.ok(&["rm", "-f", &id]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}
