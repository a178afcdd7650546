//! How the host's control groups are laid out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cgroup::CgroupError;
use crate::v1;

/// Which interface a container's limits are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Version 1 or hybrid: controller name to mount point. Controllers mounted together share one. Two hierarchies without
    /// controllers, by which systemd knows processes, are told of as well: `name=systemd`, and the unified one as `unified`.
    V1(BTreeMap<String, PathBuf>),
    /// Version 2 only.
    V2(PathBuf),
}

/// CPU time of real-time processes, in microseconds; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RealTime {
    /// Length of a period.
    pub period: Option<u64>,
    /// Time in each of them.
    pub runtime: Option<u64>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo`. A hybrid host, whose controllers are all on version 1, counts as version 1.
    pub fn probe() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"))
    }

    /// Reads the text of a mountinfo file (proc_pid_mountinfo(5)).
    pub fn parse(mountinfo: &str) -> Option<Self> {
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((head, tail)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = head.split(' ').nth(4) else { continue };
            let mut tail = tail.split(' ');
            match tail.next() {
                Some("cgroup") => {
                    let options = tail.nth(1).unwrap_or_default();
                    for option in options.split(',').filter(|option| CONTROLLERS.contains(option)) {
                        controllers
                            .entry(option.to_owned())
                            .or_insert_with(|| PathBuf::from(point));
                    }
                }
                Some("cgroup2") => {
                    unified.get_or_insert_with(|| PathBuf::from(point));
                }
                _ => {}
            }
        }
        if !controllers.keys().any(|name| name != NAMED) {
            return unified.map(Self::V2);
        }
        controllers.extend(unified.map(|point| (UNIFIED.to_owned(), point)));
        Some(Self::V1(controllers))
    }

    /// Which version limits are written to.
    pub fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }

    /// Gives the groups down to `path` real-time CPU time for those below them, where this is version 1.
    ///
    /// # Errors
    /// The kernel's refusal: there is not as much left.
    pub fn give_real_time(&self, path: &Path, time: RealTime) -> Result<(), CgroupError> {
        match self {
            Self::V1(controllers) => match controllers.get("cpu") {
                Some(cpu) => v1::give_real_time(cpu, path, time),
                None => Ok(()),
            },
            Self::V2(_) => Ok(()),
        }
    }

    /// Directories that a cgroup of this path has, those of controllers mounted together once, memory's first.
    pub fn directories(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::V1(controllers) => v1::directories(controllers, path, |_| true),
            Self::V2(root) => vec![below(root, path)],
        }
    }
}

/// The directory of a cgroup's path in a hierarchy that is mounted there.
pub(crate) fn below(point: &Path, path: &Path) -> PathBuf {
    point.join(path.strip_prefix("/").unwrap_or(path))
}

/// The hierarchy that systemd keeps its units in on version 1.
pub(crate) const NAMED: &str = "name=systemd";

/// The unified hierarchy beside those of version 1, which systemd uses for the same.
pub(crate) const UNIFIED: &str = "unified";

/// Controllers of version 1 that containers are put into.
const CONTROLLERS: [&str; 13] = [
    "memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio", "hugetlb", "net_cls", "net_prio",
    "rdma", NAMED,
];

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup/unified rw - cgroup2 none rw,nsdelegate
26 20 0:23 / /sys/fs/cgroup/memory rw - cgroup none rw,memory
27 20 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup none rw,cpu,cpuacct
28 20 0:25 / /sys/fs/cgroup/systemd rw - cgroup none rw,xattr,name=systemd
";

    #[test]
    fn a_hybrid_host_counts_as_version_1() {
        let layout = Layout::parse(HYBRID).unwrap();
        assert_eq!(layout.version(), Version::V1);
        let expected = ["memory", "cpu,cpuacct", "systemd", "unified"];
        let expected = expected.map(|name| Path::new("/sys/fs/cgroup").join(name).join("conex/x"));
        assert_eq!(layout.directories(Path::new("/conex/x")), expected);
    }

    #[test]
    fn a_unified_host_is_version_2() {
        let layout = Layout::parse("25 20 0:22 / /sys/fs/cgroup rw - cgroup2 none rw\n").unwrap();
        assert_eq!(layout, Layout::V2("/sys/fs/cgroup".into()));
    }

    #[test]
    fn a_hierarchy_without_controllers_makes_no_version_1() {
        let both = "25 20 0:22 / /c rw - cgroup2 none rw\n28 20 0:25 / /s rw - cgroup none rw,name=systemd\n";
        assert_eq!(Layout::parse(both), Some(Layout::V2("/c".into())));
    }

    #[test]
    fn a_host_without_control_groups_is_told_apart() {
        assert_eq!(Layout::parse("22 1 0:5 / /proc rw - proc proc rw\n"), None);
    }
}
