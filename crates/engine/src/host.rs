//! What the host offers, probed once when the engine opens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use conex_cgroup::{Layout, Version};
use conex_spec::{Architecture, CgroupVersion, HostFacts, LimitFacts, defaults};

/// Facts of the host and of this boot.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// What plans need.
    pub(crate) facts: HostFacts,
    /// Where cgroups are.
    pub(crate) cgroups: Layout,
    /// What they can limit.
    pub(crate) limits: LimitFacts,
    /// Identifies the boot (random(4)).
    pub(crate) boot_id: String,
    /// Kernel release, `uname -r`.
    pub(crate) kernel_release: String,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// CPUs that the daemon may run on.
    pub(crate) cpus: usize,
    /// The list of them (cpuset(7)).
    pub(crate) online: String,
    /// The list of memory nodes (cpuset(7)).
    pub(crate) nodes: String,
    /// Host name.
    pub(crate) name: String,
}

impl Host {
    /// Asks the kernel.
    pub(crate) fn probe() -> io::Result<Self> {
        let uname = rustix::system::uname();
        let kernel_release = uname.release().to_string_lossy().into_owned();
        let cgroups = Layout::probe()?;
        let kernel = version(&kernel_release);
        let facts = HostFacts {
            cgroups: match cgroups.version() {
                Version::V1 => CgroupVersion::V1,
                Version::V2 => CgroupVersion::V2,
            },
            kernel,
            architecture: Architecture::parse(&uname.machine().to_string_lossy())
                .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "only x86_64 and aarch64 are supported"))?,
            cgroup_namespaces: Path::new("/proc/self/ns/cgroup").exists(),
            overlay_layer_append: kernel >= (6, 8) && !forced_off("lowerdir+"),
            openat2: kernel >= (5, 6),
            mount_setattr: kernel >= (5, 12),
            seccomp: Path::new("/proc/sys/kernel/seccomp").exists(),
            apparmor: crate::apparmor::probe(),
            selinux: conex_sys::selinux::is_enabled(),
            capabilities: bounding_set()?,
            thermal_throttle: thermal_throttle(),
            absent_paths: absent_paths(),
        };
        let information = rustix::system::sysinfo();
        Ok(Self {
            facts,
            limits: cgroups.limits(),
            cgroups,
            boot_id: conex_sys::process::boot_id()?,
            kernel_release,
            memory: information.totalram * u64::from(information.mem_unit),
            cpus: usable_cpus()?,
            online: fs::read_to_string("/sys/devices/system/cpu/online")?.trim().to_owned(),
            // A kernel without NUMA has one node.
            nodes: fs::read_to_string("/sys/devices/system/node/online")
                .map_or_else(|_| "0".to_owned(), |nodes| nodes.trim().to_owned()),
            name: uname.nodename().to_string_lossy().into_owned(),
        })
    }
}

/// CPUs that the daemon may run on (sched_getaffinity(2)). A quota of its own is none of its containers' business.
fn usable_cpus() -> io::Result<usize> {
    let cpus = rustix::thread::sched_getaffinity(None)?;
    Ok(usize::try_from(cpus.count()).unwrap_or(1))
}

/// A fallback that newer kernels would not choose can be forced, so that it can be tested everywhere.
pub(crate) fn forced_off(feature: &str) -> bool {
    std::env::var("CONEX_WITHOUT").is_ok_and(|features| features.split(',').any(|name| name == feature))
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `CapBnd` of `/proc/self/status`.
fn bounding_set() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status has no CapBnd"))
}

fn thermal_throttle() -> Vec<PathBuf> {
    let Ok(cpus) = fs::read_dir("/sys/devices/system/cpu") else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = cpus
        .flatten()
        .map(|cpu| cpu.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
}

fn absent_paths() -> Vec<PathBuf> {
    let all = defaults::MASKED_PATHS.iter().chain(defaults::READONLY_PATHS.iter());
    all.map(PathBuf::from).filter(|path| !path.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read_from_any_release_name() {
        assert_eq!(version("6.1.0-37-amd64"), (6, 1));
        assert_eq!(version("6.18.5"), (6, 18));
        assert_eq!(version("weird"), (0, 0));
    }
}
