//! Which limits the host's kernel offers, told by the files that they would be written to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use conex_spec::LimitFacts;

use crate::layout::Layout;

impl Layout {
    /// Looks at the files of the hierarchies. What cannot be read is not offered.
    #[must_use]
    pub fn limits(&self) -> LimitFacts {
        match self {
            Self::V1(controllers) => limits_v1(controllers),
            Self::V2(root) => limits_v2(root),
        }
    }
}

fn limits_v1(controllers: &BTreeMap<String, PathBuf>) -> LimitFacts {
    let has = |controller: &str, file: &str| {
        let point = controllers.get(controller);
        point.is_some_and(|point| point.join(file).exists())
    };
    LimitFacts {
        memory: has("memory", "memory.limit_in_bytes"),
        // Absent with `swapaccount=0`, though the controller is there.
        swap: has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        swappiness: has("memory", "memory.swappiness"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        cpu_shares: has("cpu", "cpu.shares"),
        cpu_period: has("cpu", "cpu.cfs_period_us"),
        cpu_quota: has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
        cpuset: has("cpuset", "cpuset.cpus"),
        // The root of this controller has no file of a limit.
        pids: controllers.contains_key("pids"),
        // A scheduler has files of its own (block/bfq-iosched.rst).
        io_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
        io_weight_device: has("blkio", "blkio.weight_device") || has("blkio", "blkio.bfq.weight_device"),
        io_rate: has("blkio", "blkio.throttle.read_bps_device"),
    }
}

fn limits_v2(root: &Path) -> LimitFacts {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let has = |controller: &str| controllers.split_whitespace().any(|name| name == controller);
    let (memory, cpu, io) = (has("memory"), has("cpu"), has("io"));
    // The root has no such files, so that cgroups below it are asked.
    let offers = |file: &str| is_below(root, file);
    let weighs = io && (offers("io.weight") || offers("io.bfq.weight"));
    LimitFacts {
        memory,
        swap: memory && offers("memory.swap.max"),
        memory_reservation: memory,
        swappiness: false,
        oom_kill_disable: false,
        cpu_shares: cpu,
        cpu_period: cpu,
        cpu_quota: cpu,
        cpu_realtime: false,
        cpuset: has("cpuset"),
        pids: has("pids"),
        io_weight: weighs,
        io_weight_device: weighs,
        io_rate: io,
    }
}

fn is_below(root: &Path, file: &str) -> bool {
    let below = fs::read_dir(root).into_iter().flatten().flatten();
    below.map(|entry| entry.path().join(file)).any(|file| file.exists())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    const OF_BOTH: LimitFacts = LimitFacts {
        memory: true,
        swap: true,
        memory_reservation: true,
        swappiness: false,
        oom_kill_disable: false,
        cpu_shares: true,
        cpu_period: true,
        cpu_quota: true,
        cpu_realtime: false,
        cpuset: true,
        pids: true,
        io_weight: true,
        io_weight_device: true,
        io_rate: true,
    };

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn files_of_version_1_tell_what_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        make(
            dir.path(),
            &[
                "memory/memory.limit_in_bytes",
                "memory/memory.memsw.limit_in_bytes",
                "memory/memory.soft_limit_in_bytes",
                "memory/memory.swappiness",
                "memory/memory.oom_control",
                "cpu/cpu.shares",
                "cpu/cpu.cfs_period_us",
                "cpu/cpu.cfs_quota_us",
                "cpu/cpu.rt_runtime_us",
                "cpuset/cpuset.cpus",
                "blkio/blkio.bfq.weight",
                "blkio/blkio.weight_device",
                "blkio/blkio.throttle.read_bps_device",
            ],
        );
        let names = ["memory", "cpu", "cpuset", "pids", "blkio"];
        let controllers: BTreeMap<_, _> = names.map(|name| (name.to_owned(), dir.path().join(name))).into();
        let all = LimitFacts {
            swappiness: true,
            oom_kill_disable: true,
            cpu_realtime: true,
            ..OF_BOTH
        };
        assert_eq!(Layout::V1(controllers.clone()).limits(), all);
        fs::remove_file(dir.path().join("memory/memory.memsw.limit_in_bytes")).unwrap();
        fs::remove_file(dir.path().join("blkio/blkio.bfq.weight")).unwrap();
        let without = LimitFacts {
            swap: false,
            io_weight: false,
            ..all
        };
        assert_eq!(Layout::V1(controllers).limits(), without);
        assert_eq!(Layout::V1(BTreeMap::new()).limits(), LimitFacts::default());
    }

    #[test]
    fn controllers_of_version_2_tell_what_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::V2(dir.path().to_owned());
        make(dir.path(), &["init.scope/memory.swap.max", "init.scope/io.weight"]);
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        assert_eq!(layout.limits(), OF_BOTH);
        fs::write(dir.path().join("cgroup.controllers"), "memory\n").unwrap();
        let memory_only = LimitFacts {
            memory: true,
            swap: true,
            memory_reservation: true,
            ..LimitFacts::default()
        };
        assert_eq!(layout.limits(), memory_only);
        fs::remove_file(dir.path().join("init.scope/memory.swap.max")).unwrap();
        assert!(!layout.limits().swap);
    }
}
