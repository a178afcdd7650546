//! Limits as a client asks for them: checked in Docker's words, and fitted to what the kernel offers.
//!
//! What contradicts itself is an error (`check`). What the kernel has no control group for is taken away with a warning, as
//! Docker does (`fit`), so that what `inspect` tells is what binds.

use conex_api_types::{HostConfig, ThrottleDevice, Ulimit};
use conex_spec::LimitFacts;

use crate::invalid::Invalid;

/// What containers get that do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Bytes of `/dev/shm`.
    pub shm_size: i64,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
}

impl Default for Defaults {
    /// Docker's.
    fn default() -> Self {
        Self {
            shm_size: 64 << 20,
            ulimits: Vec::new(),
        }
    }
}

impl Defaults {
    /// Gives a container what it does not say.
    pub fn fill_in(&self, host: &mut HostConfig) {
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
        let own = host.ulimits.clone().unwrap_or_default();
        let is_own = |default: &&Ulimit| own.iter().any(|own| own.name == default.name);
        let missing: Vec<Ulimit> = self
            .ulimits
            .iter()
            .filter(|default| !is_own(default))
            .cloned()
            .collect();
        if !missing.is_empty() {
            host.ulimits.get_or_insert_default().extend(missing);
        }
    }
}

/// Smallest memory limit; Docker's.
const LEAST_MEMORY: i64 = 6 << 20;

/// Weights of block I/O that there may be.
const IO_WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

fn refuse<T>(words: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid::Field(words.into()))
}

/// Refuses limits that are malformed or contradict each other.
pub(crate) fn check(host: &HostConfig) -> Result<(), Invalid> {
    check_memory(host)?;
    check_cpu(host)?;
    check_list(&host.cpuset_cpus, "cpus")?;
    check_list(&host.cpuset_mems, "mems")?;
    check_io(host)
}

/// Takes away what the kernel does not offer, and says so in Docker's words.
///
/// # Errors
/// Limits that Docker refuses where the kernel does not offer them.
pub fn fit(host: &mut HostConfig, offered: &LimitFacts) -> Result<Vec<String>, Invalid> {
    let mut warnings = Vec::new();
    fit_memory(host, offered, &mut warnings);
    fit_cpu(host, offered, &mut warnings)?;
    fit_io(host, offered, &mut warnings);
    Ok(warnings)
}

/// Sets a limit that is asked for and not offered to `none`, and warns.
fn discard<T: PartialEq>(warnings: &mut Vec<String>, limit: &mut T, none: T, offered: bool, words: &str) {
    if !offered && *limit != none {
        *limit = none;
        warnings.push(words.to_owned());
    }
}

fn fit_memory(host: &mut HostConfig, offered: &LimitFacts, warnings: &mut Vec<String>) {
    if host.memory > 0 && !offered.memory {
        host.memory_swap = -1;
    }
    discard(
        warnings,
        &mut host.memory,
        0,
        offered.memory,
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    if host.memory > 0 {
        discard(
            warnings,
            &mut host.memory_swap,
            -1,
            offered.swap,
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
    }
    // This says that nothing is asked for.
    host.memory_swappiness = host.memory_swappiness.filter(|value| *value != -1);
    discard(
        warnings,
        &mut host.memory_swappiness,
        None,
        offered.swappiness,
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness \
         discarded.",
    );
    discard(
        warnings,
        &mut host.memory_reservation,
        0,
        offered.memory_reservation,
        "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    if !offered.oom_kill_disable {
        if host.oom_kill_disable == Some(true) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        }
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources."
                .to_owned(),
        );
    }
    if !offered.pids {
        if host.pids_limit.is_some_and(|limit| limit > 0) {
            warnings.push(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."
                    .to_owned(),
            );
        }
        host.pids_limit = None;
    }
}

fn fit_cpu(host: &mut HostConfig, offered: &LimitFacts, warnings: &mut Vec<String>) -> Result<(), Invalid> {
    let quotas = offered.cpu_period && offered.cpu_quota;
    if host.nano_cpus > 0 && !quotas {
        return refuse(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    if (host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0) && !offered.cpu_realtime {
        return refuse("Your kernel does not support CPU real-time scheduler");
    }
    discard(
        warnings,
        &mut host.cpu_shares,
        0,
        offered.cpu_shares,
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
    );
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !quotas {
        (host.cpu_period, host.cpu_quota) = (0, 0);
        warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".to_owned());
    }
    discard(
        warnings,
        &mut host.cpu_percent,
        0,
        false,
        "linux does not support CPU percent. Percent discarded.",
    );
    if (!host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty()) && !offered.cpuset {
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
        warnings.push("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.".to_owned());
    }
    Ok(())
}

fn fit_io(host: &mut HostConfig, offered: &LimitFacts, warnings: &mut Vec<String>) {
    discard(
        warnings,
        &mut host.blkio_weight,
        0,
        offered.io_weight,
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    );
    if !offered.io_weight_device && host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) {
        host.blkio_weight_device = Some(Vec::new());
        warnings.push(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
                .to_owned(),
        );
    }
    let rates: [(&mut Option<Vec<ThrottleDevice>>, &str); 4] = [
        (
            &mut host.blkio_device_read_bps,
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit \
             discarded.",
        ),
        (
            &mut host.blkio_device_write_bps,
            "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit \
             discarded.",
        ),
        (
            &mut host.blkio_device_read_iops,
            "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit \
             discarded.",
        ),
        (
            &mut host.blkio_device_write_iops,
            "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit \
             discarded.",
        ),
    ];
    for (rates, words) in rates {
        if !offered.io_rate && rates.as_ref().is_some_and(|list| !list.is_empty()) {
            *rates = Some(Vec::new());
            warnings.push(words.to_owned());
        }
    }
}

/// Refuses what the host's CPUs and memory nodes cannot give. `online` and `nodes` are lists as in cpuset(7).
pub fn check_cpus(host: &HostConfig, cpus: usize, online: &str, nodes: &str) -> Result<(), Invalid> {
    let all = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if host.nano_cpus > all || host.nano_cpus < 0 {
        return Err(Invalid::Field(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    let available: Vec<u32> = numbers(online).collect();
    if numbers(&host.cpuset_cpus).any(|cpu| !available.contains(&cpu)) {
        return Err(Invalid::Field(format!(
            "Requested CPUs are not available - requested {}, available: {online}",
            host.cpuset_cpus
        )));
    }
    let available: Vec<u32> = numbers(nodes).collect();
    if numbers(&host.cpuset_mems).any(|node| !available.contains(&node)) {
        return Err(Invalid::Field(format!(
            "Requested memory nodes are not available - requested {}, available: {nodes}",
            host.cpuset_mems
        )));
    }
    Ok(())
}

/// Highest number of a CPU that is looked at; more than a kernel can be built for.
const MOST_CPUS: u32 = 1 << 14;

/// The numbers of a list like `0-3,7`.
fn numbers(list: &str) -> impl Iterator<Item = u32> {
    list.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.trim().parse().ok()?..=last.trim().parse::<u32>().ok()?.min(MOST_CPUS))
        })
        .flatten()
}

fn check_memory(host: &HostConfig) -> Result<(), Invalid> {
    if host.memory < 0 || (host.memory > 0 && host.memory < LEAST_MEMORY) {
        return Err(Invalid::field("Minimum memory limit allowed is 6MB"));
    }
    if host.memory_swap < -1 {
        return Err(Invalid::field("Invalid memory-swap value: it must be -1 or more"));
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return Err(Invalid::field(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(Invalid::field(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory_reservation > 0 && host.memory_reservation < LEAST_MEMORY {
        return Err(Invalid::field("Minimum memory reservation allowed is 6MB"));
    }
    if host.memory_reservation > 0 && host.memory > 0 && host.memory < host.memory_reservation {
        return Err(Invalid::field(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    match host.memory_swappiness {
        Some(value) if !(-1..=100).contains(&value) => refuse(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        )),
        _ => Ok(()),
    }
}

fn check_cpu(host: &HostConfig) -> Result<(), Invalid> {
    if host.cpu_shares < 0 {
        return refuse(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        ));
    }
    if host.nano_cpus > 0 {
        for (value, name) in [(host.cpu_period, "CPU Period"), (host.cpu_quota, "CPU Quota")] {
            if value > 0 {
                return refuse(format!("Conflicting options: Nano CPUs and {name} cannot both be set"));
            }
        }
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_realtime_period > 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
        return refuse("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

fn check_io(host: &HostConfig) -> Result<(), Invalid> {
    if host.blkio_weight != 0 && !IO_WEIGHTS.contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    for device in host.blkio_weight_device.iter().flatten() {
        if device.weight != 0 && !IO_WEIGHTS.contains(&device.weight) {
            return refuse(format!("invalid weight for device: {}:{}", device.path, device.weight));
        }
    }
    if host.io_maximum_bandwidth != 0 || host.io_maximum_iops != 0 {
        return refuse("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps");
    }
    Ok(())
}

/// The list format of cpuset(7).
fn check_list(list: &str, name: &str) -> Result<(), Invalid> {
    let number = |text: &str| text.parse::<u32>().is_ok();
    let part = |part: &str| match part.split_once('-') {
        Some((from, to)) => number(from) && number(to),
        None => number(part),
    };
    if list.is_empty() || list.split(',').all(part) {
        return Ok(());
    }
    Err(Invalid::Field(format!(
        "Invalid value {list} for cpuset {name}: invalid format: {list}"
    )))
}

#[cfg(test)]
mod tests {
    use conex_api_types::WeightDevice;

    use super::*;

    fn refusal(host: &HostConfig) -> String {
        check(host).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let none = HostConfig::default;
        for (host, words) in [
            (
                HostConfig { memory: 1, ..none() },
                "Minimum memory limit allowed is 6MB",
            ),
            (
                HostConfig {
                    memory: 64 << 20,
                    memory_swap: 1 << 20,
                    ..none()
                },
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (
                HostConfig {
                    cpuset_cpus: "0-a".into(),
                    ..none()
                },
                "Invalid value 0-a for cpuset cpus: invalid format: 0-a",
            ),
            (
                HostConfig {
                    memory_swappiness: Some(101),
                    ..none()
                },
                "Invalid value: 101, valid memory swappiness range is 0-100",
            ),
            (
                HostConfig {
                    cpu_realtime_period: 10,
                    cpu_realtime_runtime: 11,
                    ..none()
                },
                "cpu real-time runtime cannot be higher than cpu real-time period",
            ),
            (
                HostConfig {
                    blkio_weight: 9,
                    ..none()
                },
                "Range of blkio weight is from 10 to 1000",
            ),
        ] {
            assert_eq!(refusal(&host), words);
        }
        assert!(check(&none()).is_ok());
    }

    #[test]
    fn what_the_kernel_does_not_offer_is_taken_away_and_warned_of() {
        let asked = HostConfig {
            memory: 64 << 20,
            memory_reservation: 32 << 20,
            memory_swappiness: Some(10),
            oom_kill_disable: Some(true),
            pids_limit: Some(10),
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpuset_cpus: "0".into(),
            blkio_weight: 100,
            blkio_weight_device: Some(vec![WeightDevice::default()]),
            blkio_device_read_bps: Some(vec![ThrottleDevice::default()]),
            ..HostConfig::default()
        };
        let mut host = asked.clone();
        let warnings = fit(&mut host, &LimitFacts::default()).unwrap();
        assert_eq!(warnings.len(), 11, "{warnings:#?}");
        let none = HostConfig {
            memory_swap: -1,
            blkio_weight_device: Some(Vec::new()),
            blkio_device_read_bps: Some(Vec::new()),
            ..HostConfig::default()
        };
        assert_eq!(host, none);
        let mut host = asked.clone();
        let all = LimitFacts {
            memory: true,
            swap: true,
            memory_reservation: true,
            swappiness: true,
            oom_kill_disable: true,
            cpu_shares: true,
            cpu_period: true,
            cpu_quota: true,
            cpu_realtime: true,
            cpuset: true,
            pids: true,
            io_weight: true,
            io_weight_device: true,
            io_rate: true,
        };
        assert_eq!(fit(&mut host, &all).unwrap(), Vec::<String>::new());
        assert_eq!(host, asked);
        let without_swap = LimitFacts { swap: false, ..all };
        let warnings = fit(&mut host, &without_swap).unwrap();
        assert!(warnings[0].ends_with("Memory limited without swap."), "{warnings:?}");
        assert_eq!((warnings.len(), host.memory_swap), (1, -1));
    }

    #[test]
    fn a_container_gets_the_limits_that_it_does_not_name() {
        let limit = |name: &str, soft| Ulimit {
            name: name.to_owned(),
            soft,
            hard: 10,
        };
        let defaults = Defaults {
            shm_size: 1 << 20,
            ulimits: vec![limit("nofile", 1), limit("nproc", 2)],
        };
        let mut host = HostConfig {
            ulimits: Some(vec![limit("nofile", 5)]),
            ..HostConfig::default()
        };
        defaults.fill_in(&mut host);
        assert_eq!(host.ulimits.unwrap(), [limit("nofile", 5), limit("nproc", 2)]);
        assert_eq!(host.shm_size, 1 << 20);
        let mut host = HostConfig {
            shm_size: 5,
            ..HostConfig::default()
        };
        Defaults::default().fill_in(&mut host);
        assert_eq!((host.shm_size, host.ulimits), (5, None));
    }

    #[test]
    fn some_are_refused_where_they_are_not_offered() {
        let mut host = HostConfig {
            cpu_realtime_runtime: 1000,
            ..HostConfig::default()
        };
        let refused = fit(&mut host, &LimitFacts::default()).unwrap_err().to_string();
        assert_eq!(refused, "Your kernel does not support CPU real-time scheduler");
        let mut host = HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        };
        let refused = fit(&mut host, &LimitFacts::default()).unwrap_err().to_string();
        assert!(refused.starts_with("NanoCPUs can not be set"), "{refused}");
    }
}
