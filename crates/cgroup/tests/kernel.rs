//! Control groups of version 1 on this host's kernel; run as root, and by `cargo xtask test` where the host has them.
//! Those of version 2 are seen by the root tests in the virtual machine.
//!
//! Every test works below `/conex-test-<pid>/<test>` of each hierarchy, which is removed at the end, also by a panic.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use conex_cgroup::{Cgroup, CgroupError, Layout, Version};
use conex_spec::plan::{BlockIo, CgroupPlan, DeviceRule, Resources, Throttle, ThrottleKind};

/// A path that is this test's alone.
struct Place {
    layout: Layout,
    path: PathBuf,
}

impl Place {
    fn new(test: &str) -> Self {
        let layout = Layout::probe().unwrap();
        assert_eq!(layout.version(), Version::V1, "these tests are for hosts of version 1");
        let path = PathBuf::from(format!("/conex-test-{}-{test}", std::process::id()));
        Self { layout, path }
    }

    fn plan(&self, resources: Resources) -> CgroupPlan {
        CgroupPlan {
            path: self.path.join("c"),
            scope: None,
            resources,
        }
    }

    fn create(&self, resources: Resources) -> Cgroup {
        Cgroup::create(&self.layout, &self.plan(resources)).unwrap()
    }

    fn directory(&self, controller: &str) -> PathBuf {
        let Layout::V1(controllers) = &self.layout else {
            unreachable!()
        };
        let path = self.path.strip_prefix("/").unwrap();
        controllers[controller].join(path).join("c")
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.directory(controller).join(file);
        let text = fs::read_to_string(&path);
        text.unwrap_or_else(|error| panic!("{path:?}: {error}"))
            .trim()
            .to_owned()
    }

    fn left(&self) -> Vec<PathBuf> {
        let mut left = self.layout.directories(&self.path.join("c"));
        left.retain(|directory| directory.exists());
        left
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in [self.path.join("c"), self.path.clone()] {
            let mut cgroup = Cgroup::open(self.layout.directories(&path));
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
    }
}

/// Starts a program in the cgroup: a thread joins (`tasks` moves threads) and the child is born where the thread is.
fn start(cgroup: &Cgroup, command: &mut Command) -> Child {
    thread::scope(|scope| {
        let started = scope.spawn(|| {
            cgroup.join().unwrap();
            command.spawn().unwrap()
        });
        started.join().unwrap()
    })
}

fn shell(cgroup: &Cgroup, script: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    start(cgroup, &mut command).wait_with_output().unwrap()
}

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

/// Kills what is still there when a test ends.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills while somebody reaps, as the monitor does.
fn kill_and_reap(cgroup: &Cgroup, child: &mut Child) -> Option<i32> {
    thread::scope(|scope| {
        let reaped = scope.spawn(|| child.wait().unwrap().signal());
        cgroup.kill_all().unwrap();
        reaped.join().unwrap()
    })
}

fn rule(allow: bool, kind: char, numbers: Option<(u32, u32)>, access: &str) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major: numbers.map(|(major, _)| major),
        minor: numbers.map(|(_, minor)| minor),
        access: access.to_owned(),
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn limits_are_what_the_kernels_files_say() {
    let place = Place::new("limits");
    let files = [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "20000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("pids", "pids.max", "20"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
    ];
    // The control: without limits the files say something else.
    let mut unlimited = place.create(Resources::default());
    for (controller, file, value) in files.iter().filter(|(controller, ..)| *controller != "cpuset") {
        assert_ne!(place.read(controller, file), *value, "{file}");
    }
    assert!(!place.directory("cpuset").exists());
    unlimited.remove().unwrap();

    let cgroup = place.create(Resources {
        memory: Some(64 << 20),
        memory_reservation: Some(32 << 20),
        cpu_shares: Some(512),
        cpu_quota: Some(20_000),
        cpu_period: Some(50_000),
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        pids: Some(20),
        ..Resources::default()
    });
    for (controller, file, value) in files {
        assert_eq!(place.read(controller, file), value, "{file}");
    }
    assert_eq!(cgroup.version(), Version::V1);
    assert!(cgroup.clone_into().is_none());
}

/// Numbers of a block device of this machine.
fn block_device() -> (u32, u32) {
    let text = fs::read_to_string("/proc/partitions").unwrap();
    let line = text.lines().nth(2).expect("a block device");
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn seldom_limits_are_what_the_kernels_files_say() {
    let place = Place::new("seldom");
    let device = block_device();
    let kinds = [
        (ThrottleKind::ReadBytes, "blkio.throttle.read_bps_device"),
        (ThrottleKind::WriteBytes, "blkio.throttle.write_bps_device"),
        (ThrottleKind::ReadOperations, "blkio.throttle.read_iops_device"),
        (ThrottleKind::WriteOperations, "blkio.throttle.write_iops_device"),
    ];
    let throttles = kinds
        .iter()
        .zip([1_048_576, 2_097_152, 300, 400])
        .map(|((kind, _), rate)| Throttle {
            device,
            kind: *kind,
            rate,
        });
    let _cgroup = place.create(Resources {
        memory_swappiness: Some(17),
        oom_kill_disable: Some(true),
        cpu_quota: Some(50_000),
        cpu_burst: Some(10_000),
        block_io: BlockIo {
            weight: Some(321),
            throttles: throttles.collect(),
            ..BlockIo::default()
        },
        ..Resources::default()
    });
    assert_eq!(place.read("memory", "memory.swappiness"), "17");
    assert!(
        place
            .read("memory", "memory.oom_control")
            .contains("oom_kill_disable 1")
    );
    assert_eq!(place.read("cpu", "cpu.cfs_burst_us"), "10000");
    let (major, minor) = device;
    for ((_, file), rate) in kinds.iter().zip([1_048_576, 2_097_152, 300, 400]) {
        assert_eq!(place.read("blkio", file), format!("{major}:{minor} {rate}"), "{file}");
    }
    let weight = place.read("blkio", "blkio.bfq.weight");
    assert!(weight.contains("321"), "{weight}");
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_group_gets_only_time_that_nobody_else_wants() {
    let place = Place::new("idle");
    let _cgroup = place.create(Resources {
        cpu_idle: Some(1),
        ..Resources::default()
    });
    assert_eq!(place.read("cpu", "cpu.idle"), "1");
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_limit_without_its_controller_is_refused_by_the_controllers_name() {
    let place = Place::new("absent");
    let Layout::V1(controllers) = &place.layout else {
        unreachable!()
    };
    let class = Resources {
        network_class: Some(7),
        ..Resources::default()
    };
    let created = Cgroup::create(&place.layout, &place.plan(class));
    if controllers.contains_key("net_cls") {
        created.unwrap();
        assert_eq!(place.read("net_cls", "net_cls.classid"), "7");
    } else {
        let words = created.unwrap_err().to_string();
        assert_eq!(words, "the net_cls controller is not available on this host");
        assert_eq!(place.left(), [] as [PathBuf; 0]);
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn swap_is_limited_where_the_kernel_counts_it() {
    let place = Place::new("swap");
    let mut plain = place.create(Resources::default());
    let counted = place.directory("memory").join("memory.memsw.limit_in_bytes").exists();
    plain.remove().unwrap();
    let created = Cgroup::create(
        &place.layout,
        &place.plan(Resources {
            memory: Some(16 << 20),
            memory_swap: Some(32 << 20),
            ..Resources::default()
        }),
    );
    if counted {
        let _cgroup = created.unwrap();
        assert_eq!(place.read("memory", "memory.memsw.limit_in_bytes"), "33554432");
    } else {
        assert!(matches!(created.unwrap_err(), CgroupError::Write { .. }));
        assert_eq!(place.left(), [] as [PathBuf; 0]);
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn no_limit_of_tasks_is_written_as_max() {
    let place = Place::new("nopids");
    let mut limited = place.create(Resources {
        pids: Some(7),
        ..Resources::default()
    });
    assert_eq!(place.read("pids", "pids.max"), "7");
    limited.remove().unwrap();
    for pids in [-1, 0] {
        let mut cgroup = place.create(Resources {
            pids: Some(pids),
            ..Resources::default()
        });
        assert_eq!(place.read("pids", "pids.max"), "max", "{pids}");
        cgroup.remove().unwrap();
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_fork_beyond_the_limit_of_tasks_is_refused() {
    let place = Place::new("pids");
    let script = "sleep 0.2 & sleep 0.2 & sleep 0.2 & wait; echo forked";
    for (pids, forks) in [(20, true), (3, false)] {
        let mut cgroup = place.create(Resources {
            pids: Some(pids),
            ..Resources::default()
        });
        let output = shell(&cgroup, script);
        assert_eq!(
            output.stdout == b"forked\n" && output.stderr.is_empty(),
            forks,
            "{pids}: {output:?}"
        );
        cgroup.kill_all().unwrap();
        cgroup.remove().unwrap();
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_process_that_joins_is_in_every_hierarchy_and_the_others_are_not() {
    let place = Place::new("join");
    let cgroup = place.create(Resources::default());
    let wanted = format!("{}/c", place.path.display());
    let output = shell(&cgroup, "cat /proc/self/cgroup");
    let text = String::from_utf8(output.stdout).unwrap();
    let inside: Vec<&str> = text.lines().filter(|line| line.ends_with(&wanted)).collect();
    assert_eq!(inside.len(), cgroup.directories().len(), "{text}");
    assert!(!fs::read_to_string("/proc/self/cgroup").unwrap().contains(&wanted));

    // A handle that was opened from the directories lets processes in as well.
    let opened = Cgroup::open(cgroup.directories().to_vec()).with_doors().unwrap();
    let output = shell(&opened, "cat /proc/self/cgroup");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_handle_on_directories_that_are_not_there_has_no_doors() {
    let place = Place::new("absent");
    let absent = || Cgroup::open(place.layout.directories(&place.path.join("c")));
    assert!(absent().with_doors().is_err());
    absent().kill_all().unwrap();
    absent().remove().unwrap();
    let cgroup = place.create(Resources::default());
    assert!(Cgroup::open(cgroup.directories().to_vec()).with_doors().is_ok());
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn kill_all_kills_what_is_inside_and_below_and_nothing_else() {
    let place = Place::new("kill");
    let cgroup = place.create(Resources::default());
    let mut outside = Reaped(sleep().spawn().unwrap());
    let mut inside = Reaped(start(&cgroup, &mut sleep()));
    let below: Vec<PathBuf> = cgroup
        .directories()
        .iter()
        .map(|directory| directory.join("below"))
        .collect();
    for directory in &below {
        fs::create_dir(directory).unwrap();
    }
    let mut deeper = Reaped(start(&Cgroup::open(below).with_doors().unwrap(), &mut sleep()));
    assert!(inside.0.try_wait().unwrap().is_none());
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| inside.0.wait().unwrap().signal());
        let two = scope.spawn(|| deeper.0.wait().unwrap().signal());
        cgroup.kill_all().unwrap();
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((one, two), (Some(9), Some(9)));
    assert!(outside.0.try_wait().unwrap().is_none());
}

fn state(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit_once(") ").unwrap().1[..1].to_owned()
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn what_is_frozen_is_killed_as_well() {
    let place = Place::new("freeze");
    let cgroup = place.create(Resources::default());
    let mut inside = Reaped(start(&cgroup, &mut sleep()));
    let file = place.directory("freezer").join("freezer.state");
    let wait_for = |wanted: &str| {
        for _ in 0..200 {
            if fs::read_to_string(&file).unwrap().trim() == wanted {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("not {wanted}");
    };
    let asleep = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(5));
        state(inside.0.id()) == "S"
    });
    assert!(asleep);
    fs::write(&file, "FROZEN").unwrap();
    wait_for("FROZEN");
    assert_eq!(state(inside.0.id()), "D");
    // Version 1 delivers no signal to what is frozen: it is thawed for its end.
    assert_eq!(kill_and_reap(&cgroup, &mut inside.0), Some(9));
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn devices_are_denied_but_for_those_that_a_rule_allows() {
    let place = Place::new("devices");
    let read = |cgroup: &Cgroup, device: &str| shell(cgroup, &format!("head -c 1 {device}")).status.success();
    // The control: without rules every device is open.
    let mut open = place.create(Resources::default());
    for device in ["/dev/null", "/dev/zero", "/dev/urandom"] {
        assert!(read(&open, device), "{device}");
    }
    open.remove().unwrap();

    let cgroup = place.create(Resources {
        devices: vec![
            rule(false, 'a', None, "rwm"),
            rule(true, 'c', Some((1, 3)), "rwm"),
            rule(true, 'c', Some((1, 5)), "r"),
            rule(true, 'c', Some((1, 9)), "rwm"),
            rule(false, 'c', Some((1, 9)), "r"),
        ],
        ..Resources::default()
    });
    assert!(read(&cgroup, "/dev/null") && read(&cgroup, "/dev/zero"));
    assert!(!read(&cgroup, "/dev/urandom") && !read(&cgroup, "/dev/random"));
    let write = |device: &str| shell(&cgroup, &format!("echo x > {device}")).status.success();
    assert!(write("/dev/null") && !write("/dev/zero") && write("/dev/urandom"));
    let list = place.read("devices", "devices.list");
    assert_eq!(list.lines().collect::<Vec<_>>(), ["c 1:3 rwm", "c 1:5 r", "c 1:9 wm"]);
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_kill_for_want_of_memory_is_told() {
    let place = Place::new("oom");
    let cgroup = place.create(Resources {
        memory: Some(16 << 20),
        ..Resources::default()
    });
    // `tail` holds the whole line in memory. The host's swap would hide the limit.
    let script = |size: &str| format!("head -c {size} /dev/zero | tail -n 1 | wc -c");
    let small = shell(&cgroup, &script("1m"));
    assert_eq!(String::from_utf8_lossy(&small.stdout).trim(), "1048576");
    assert!(!cgroup.oom_killed());
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    let big = shell(&cgroup, &script("64m"));
    assert!(has_swap || cgroup.oom_killed(), "{big:?}");
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn removal_leaves_nothing_not_even_what_was_made_below() {
    let place = Place::new("remove");
    let mut cgroup = place.create(Resources {
        cpuset_cpus: Some("0".to_owned()),
        ..Resources::default()
    });
    assert_eq!(place.left().len(), cgroup.directories().len());
    for directory in cgroup.directories() {
        fs::create_dir_all(directory.join("a/b")).unwrap();
    }
    cgroup.remove().unwrap();
    assert_eq!(place.left(), [] as [PathBuf; 0]);
    cgroup.remove().unwrap();
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn what_is_busy_is_not_removed_before_its_processes_are_killed() {
    let place = Place::new("busy");
    let mut cgroup = place.create(Resources::default());
    let mut inside = Reaped(start(&cgroup, &mut sleep()));
    assert!(matches!(
        cgroup.remove().unwrap_err(),
        CgroupError::Operate {
            operation: "remove",
            ..
        }
    ));
    assert_eq!(place.left().len(), cgroup.directories().len());
    assert_eq!(kill_and_reap(&cgroup, &mut inside.0), Some(9));
    cgroup.remove().unwrap();
    assert_eq!(place.left(), [] as [PathBuf; 0]);
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_limit_that_the_kernel_refuses_leaves_nothing() {
    let place = Place::new("refused");
    // The shortest quota is a millisecond.
    for (quota, right) in [(1000, true), (1, false)] {
        let plan = place.plan(Resources {
            cpu_quota: Some(quota),
            ..Resources::default()
        });
        match Cgroup::create(&place.layout, &plan) {
            Ok(mut cgroup) => {
                assert!(right && !place.left().is_empty());
                cgroup.remove().unwrap();
            }
            Err(CgroupError::Write { file, value, .. }) => {
                assert!(!right && file.ends_with("cpu.cfs_quota_us") && value == "1");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(place.left(), [] as [PathBuf; 0], "{quota}");
    }
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn a_limit_without_its_controller_is_refused_by_name() {
    let place = Place::new("missing");
    let Layout::V1(all) = &place.layout else { unreachable!() };
    let mut without: BTreeMap<String, PathBuf> = all.clone();
    without.remove("pids");
    let without = Layout::V1(without);
    let plan = place.plan(Resources {
        pids: Some(5),
        ..Resources::default()
    });
    let refused = Cgroup::create(&without, &plan).unwrap_err();
    assert!(matches!(refused, CgroupError::NoController { controller: "pids" }));
    assert_eq!(place.left(), [] as [PathBuf; 0]);
    // The controls: with the controller, or without the limit.
    Cgroup::create(&place.layout, &plan).unwrap().remove().unwrap();
    let unlimited = place.plan(Resources::default());
    Cgroup::create(&without, &unlimited).unwrap().remove().unwrap();
}

#[test]
#[ignore = "needs a host with control groups of version 1"]
fn what_a_dead_monitor_left_is_taken_over() {
    let place = Place::new("again");
    std::mem::forget(place.create(Resources {
        pids: Some(5),
        ..Resources::default()
    }));
    let _cgroup = place.create(Resources {
        pids: Some(6),
        ..Resources::default()
    });
    assert_eq!(place.read("pids", "pids.max"), "6");
    assert!(Path::new(&place.directory("memory")).exists());
}
