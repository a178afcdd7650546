//! Limits of CPU, memory and tasks.

use conex_api_types::HostConfig;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Limits; `None` is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes of memory and swap, -1 for unlimited swap.
    pub memory_swap: Option<i64>,
    /// Bytes.
    pub memory_reservation: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// List of CPUs.
    pub cpuset_cpus: Option<String>,
    /// List of memory nodes.
    pub cpuset_mems: Option<String>,
    /// Tasks.
    pub pids: Option<i64>,
}

/// Smallest memory limit; Docker's.
const LEAST_MEMORY: i64 = 6 << 20;

/// Period that `NanoCpus` is expressed in, microseconds.
const PERIOD: i64 = 100_000;

impl Limits {
    pub(crate) fn from_host_config(host: &HostConfig) -> Result<Self, Invalid> {
        check_memory(host)?;
        let (cpu_quota, cpu_period) = cpu(host)?;
        let positive = |value: i64| (value > 0).then_some(value);
        let memory = positive(host.memory);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        check_list(&host.cpuset_cpus, "cpus")?;
        check_list(&host.cpuset_mems, "mems")?;
        if host.cpu_shares < 0 {
            return Err(Invalid::Field(format!(
                "invalid CPU shares ({}): value must be a positive integer",
                host.cpu_shares
            )));
        }
        Ok(Self {
            memory,
            // Docker allows as much swap as memory where nothing is said.
            memory_swap: match host.memory_swap {
                0 => memory.map(|memory| memory * 2),
                swap => Some(swap),
            },
            memory_reservation: positive(host.memory_reservation),
            cpu_shares: u64::try_from(host.cpu_shares).ok().filter(|shares| *shares > 0),
            cpu_quota,
            cpu_period,
            cpuset_cpus: text(&host.cpuset_cpus),
            cpuset_mems: text(&host.cpuset_mems),
            pids: host.pids_limit.filter(|limit| *limit > 0),
        })
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
    Ok(())
}

fn cpu(host: &HostConfig) -> Result<(Option<i64>, Option<u64>), Invalid> {
    if host.nano_cpus > 0 {
        for (value, name) in [(host.cpu_period, "CPU Period"), (host.cpu_quota, "CPU Quota")] {
            if value > 0 {
                let words = format!("Conflicting options: Nano CPUs and {name} cannot both be set");
                return Err(Invalid::Field(words));
            }
        }
        return Ok((
            Some((host.nano_cpus / (1_000_000_000 / PERIOD)).max(1_000)),
            u64::try_from(PERIOD).ok(),
        ));
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(Invalid::field(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(Invalid::field("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    let quota = (host.cpu_quota != 0).then_some(host.cpu_quota);
    Ok((quota, u64::try_from(host.cpu_period).ok().filter(|period| *period > 0)))
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
    use super::*;

    fn of(host: HostConfig) -> Result<Limits, Invalid> {
        Limits::from_host_config(&host)
    }

    #[test]
    fn half_a_cpu_is_half_a_period() {
        let limits = of(HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        })
        .unwrap();
        assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(50_000), Some(100_000)));
    }

    #[test]
    fn memory_comes_with_as_much_swap() {
        let limits = of(HostConfig {
            memory: 64 << 20,
            ..HostConfig::default()
        })
        .unwrap();
        assert_eq!((limits.memory, limits.memory_swap), (Some(64 << 20), Some(128 << 20)));
        let limits = of(HostConfig {
            memory: 64 << 20,
            memory_swap: -1,
            ..HostConfig::default()
        })
        .unwrap();
        assert_eq!(limits.memory_swap, Some(-1));
    }

    #[test]
    fn too_little_is_refused() {
        let refused = of(HostConfig {
            memory: 1,
            ..HostConfig::default()
        })
        .unwrap_err();
        assert_eq!(refused.to_string(), "Minimum memory limit allowed is 6MB");
        assert!(
            of(HostConfig {
                cpuset_cpus: "0-a".into(),
                ..HostConfig::default()
            })
            .is_err()
        );
        assert!(
            of(HostConfig {
                memory: 64 << 20,
                memory_swap: 1 << 20,
                ..HostConfig::default()
            })
            .is_err()
        );
    }
}
