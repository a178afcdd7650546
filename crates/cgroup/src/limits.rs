//! Which limits the host's kernel offers, told by the files that they would be written to.

use std::fs;
use std::path::Path;

use crate::layout::Layout;

/// What can be limited on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each of them stands for itself")]
pub struct Limits {
    /// Memory.
    pub memory: bool,
    /// Memory and swap together.
    pub swap: bool,
    /// Shares of the CPUs.
    pub cpu_shares: bool,
    /// The period that a quota counts for.
    pub cpu_period: bool,
    /// CPU time in a period.
    pub cpu_quota: bool,
    /// Which CPUs and memory nodes.
    pub cpuset: bool,
    /// Processes and threads.
    pub pids: bool,
}

impl Limits {
    /// Looks at the files of the hierarchies. What cannot be read is not offered.
    pub fn probe(layout: &Layout) -> Self {
        match layout {
            Layout::V1(controllers) => {
                let has = |controller: &str, file: &str| {
                    let point = controllers.get(controller);
                    point.is_some_and(|point| point.join(file).exists())
                };
                Self {
                    memory: has("memory", "memory.limit_in_bytes"),
                    // Absent with `swapaccount=0`, though the controller is there.
                    swap: has("memory", "memory.memsw.limit_in_bytes"),
                    cpu_shares: has("cpu", "cpu.shares"),
                    cpu_period: has("cpu", "cpu.cfs_period_us"),
                    cpu_quota: has("cpu", "cpu.cfs_quota_us"),
                    cpuset: has("cpuset", "cpuset.cpus"),
                    // The root of this controller has no file of a limit.
                    pids: controllers.contains_key("pids"),
                }
            }
            Layout::V2(root) => {
                let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                let has = |controller: &str| controllers.split_whitespace().any(|name| name == controller);
                let cpu = has("cpu");
                Self {
                    memory: has("memory"),
                    swap: has("memory") && counts_swap(root),
                    cpu_shares: cpu,
                    cpu_period: cpu,
                    cpu_quota: cpu,
                    cpuset: has("cpuset"),
                    pids: has("pids"),
                }
            }
        }
    }
}

/// Whether swap can be limited. The root has no such file, so that cgroups below it are asked.
fn counts_swap(root: &Path) -> bool {
    let below = fs::read_dir(root).into_iter().flatten().flatten();
    below
        .map(|entry| entry.path().join("memory.swap.max"))
        .any(|file| file.exists())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: Limits = Limits {
        memory: true,
        swap: true,
        cpu_shares: true,
        cpu_period: true,
        cpu_quota: true,
        cpuset: true,
        pids: true,
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
                "cpu/cpu.shares",
                "cpu/cpu.cfs_period_us",
                "cpu/cpu.cfs_quota_us",
                "cpuset/cpuset.cpus",
            ],
        );
        let names = ["memory", "cpu", "cpuset", "pids"];
        let controllers: BTreeMap<_, _> = names.map(|name| (name.to_owned(), dir.path().join(name))).into();
        assert_eq!(Limits::probe(&Layout::V1(controllers.clone())), ALL);
        fs::remove_file(dir.path().join("memory/memory.memsw.limit_in_bytes")).unwrap();
        let without = Limits::probe(&Layout::V1(controllers));
        assert_eq!(without, Limits { swap: false, ..ALL });
        assert_eq!(Limits::probe(&Layout::V1(BTreeMap::new())), Limits::default());
    }

    #[test]
    fn controllers_of_version_2_tell_what_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::V2(dir.path().to_owned());
        make(dir.path(), &["init.scope/memory.swap.max"]);
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        assert_eq!(Limits::probe(&layout), ALL);
        fs::write(dir.path().join("cgroup.controllers"), "memory\n").unwrap();
        let memory_only = Limits {
            memory: true,
            swap: true,
            ..Limits::default()
        };
        assert_eq!(Limits::probe(&layout), memory_only);
        fs::remove_file(dir.path().join("init.scope/memory.swap.max")).unwrap();
        assert!(!Limits::probe(&layout).swap);
    }
}
