//! Limits as properties of units (systemd.resource-control(5), org.freedesktop.systemd1(5)), as runc names them.

use conex_spec::plan::{DeviceRule, Resources, Scope};

use super::devices::{self, Access};
use super::message::Value;
use crate::layout::Version;
use crate::v2;

/// A property and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    /// The version of systemd that has it.
    pub(crate) since: u32,
}

/// What every version of systemd has that this is for: the last of which an enterprise distribution lives is 239.
pub(crate) const OLDEST: u32 = 236;

/// How systemd writes that there is no limit.
const INFINITY: u64 = u64::MAX;

/// The period that a quota counts for where nobody says, in microseconds.
const PERIOD: u64 = 100_000;

/// systemd keeps a quota as percents of a CPU: microseconds per second that one of them is.
const PERCENT: u64 = 10_000;

fn property(name: &'static str, value: Value) -> Property {
    Property {
        name,
        value,
        since: OLDEST,
    }
}

fn number(name: &'static str, value: u64) -> Property {
    property(name, Value::Number(value))
}

/// What makes a scope one of a container.
pub(crate) fn of_scope(version: Version, scope: &Scope, pid: i32) -> Vec<Property> {
    let on = |name| property(name, Value::Flag(true));
    vec![
        property("Description", Value::Text(format!("container {}", scope.container))),
        property("Slice", Value::Text(scope.slice.clone())),
        // What is below belongs to the container, and systemd keeps its hands off what it was not told of.
        on("Delegate"),
        property("PIDs", Value::Pids(vec![pid.unsigned_abs()])),
        on("CPUAccounting"),
        on("MemoryAccounting"),
        on("TasksAccounting"),
        on(match version {
            Version::V1 => "BlockIOAccounting",
            Version::V2 => "IOAccounting",
        }),
        // At the shutdown of the host the engine ends it in its own way.
        property("DefaultDependencies", Value::Flag(false)),
        // One that has failed would keep its name until somebody resets it.
        property("CollectMode", Value::Text("inactive-or-failed".to_owned())),
    ]
}

/// The limits that systemd knows.
pub(crate) fn limits(version: Version, resources: &Resources) -> Vec<Property> {
    let mut all = match version {
        Version::V1 => limits_v1(resources),
        Version::V2 => limits_v2(resources),
    };
    all.extend(quota(resources));
    if let Some(limit) = resources.pids {
        all.push(number(
            "TasksMax",
            u64::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(INFINITY),
        ));
    }
    if version == Version::V2 {
        all.extend(resources.unified.iter().flat_map(|(file, value)| unified(file, value)));
    }
    all
}

fn limits_v1(resources: &Resources) -> Vec<Property> {
    let weight = resources.block_io.weight.filter(|weight| *weight != 0);
    let given = [
        ("MemoryLimit", bytes(resources.memory)),
        ("CPUShares", resources.cpu_shares.filter(|shares| *shares != 0)),
        ("BlockIOWeight", weight.map(u64::from)),
    ];
    given.into_iter().filter_map(given_number).collect()
}

fn limits_v2(resources: &Resources) -> Vec<Property> {
    let shares = resources.cpu_shares.filter(|shares| *shares != 0);
    let weight = resources.block_io.weight.filter(|weight| *weight != 0);
    let given = [
        ("MemoryMax", bytes(resources.memory)),
        ("MemoryLow", bytes(resources.memory_reservation)),
        ("MemorySwapMax", v2::swap(resources).map(unlimited)),
        ("CPUWeight", shares.map(v2::weight)),
        ("IOWeight", weight.map(v2::io_weight)),
    ];
    let mut all: Vec<_> = given.into_iter().filter_map(given_number).collect();
    // After the weight, which an older systemd is left with.
    all.extend(idle(resources.cpu_idle));
    let sets = [
        ("AllowedCPUs", &resources.cpuset_cpus),
        ("AllowedMemoryNodes", &resources.cpuset_mems),
    ];
    all.extend(sets.into_iter().filter_map(|(name, list)| set(name, list.as_deref()?)));
    all
}

fn given_number((name, value): (&'static str, Option<u64>)) -> Option<Property> {
    value.map(|value| number(name, value))
}

/// `idle` is a weight of its own, which the interface has as 0.
fn idle(wanted: Option<i64>) -> Option<Property> {
    wanted.filter(|idle| *idle == 1).map(|_| Property {
        since: 252,
        ..number("CPUWeight", 0)
    })
}

/// 0 is taken for "as it is", as by runc.
fn bytes(limit: Option<i64>) -> Option<u64> {
    limit.filter(|limit| *limit != 0).map(unlimited)
}

fn unlimited(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(INFINITY)
}

/// Rounded up: a quota that systemd has made smaller than what is asked for would hold back a group below that is given all
/// of it.
fn quota(resources: &Resources) -> Vec<Property> {
    let mut all = Vec::new();
    if let Some(period) = resources.cpu_period {
        all.push(Property {
            since: 242,
            ..number("CPUQuotaPeriodUSec", period)
        });
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let period = resources.cpu_period.unwrap_or(PERIOD).max(1);
        let quota = resources.cpu_quota.and_then(|quota| u64::try_from(quota).ok());
        let per_second = quota.filter(|quota| *quota > 0).map(|quota| {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            u64::try_from(exact).map_or(INFINITY, |exact| exact.div_ceil(PERCENT).saturating_mul(PERCENT))
        });
        all.push(number("CPUQuotaPerSecUSec", per_second.unwrap_or(INFINITY)));
    }
    all
}

/// A list of numbers as bits, those of the lowest in the first byte. What is no list the kernel refuses with its reason, when
/// it is written to the file.
fn set(name: &'static str, list: &str) -> Option<Property> {
    Some(Property {
        since: 244,
        ..property(name, Value::Bytes(bits(list)?))
    })
}

/// More CPUs no kernel has.
const MOST: usize = 8192;

fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        for bit in first..=last {
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(bytes)
}

/// Files of the unified hierarchy that are asked for by their names, where systemd has a property for them.
fn unified(file: &str, value: &str) -> Vec<Property> {
    let value = value.trim();
    let amount = || match value {
        "max" => Some(INFINITY),
        digits => digits.parse().ok(),
    };
    let found = match file {
        "memory.min" => given_number(("MemoryMin", amount())),
        "memory.low" => given_number(("MemoryLow", amount())),
        "memory.high" => given_number(("MemoryHigh", amount())),
        "memory.max" => given_number(("MemoryMax", amount())),
        "memory.swap.max" => given_number(("MemorySwapMax", amount())),
        "pids.max" => given_number(("TasksMax", amount())),
        "cpu.weight" => given_number(("CPUWeight", amount())),
        "cpu.idle" => idle(value.parse().ok()),
        "cpuset.cpus" => set("AllowedCPUs", value),
        "cpuset.mems" => set("AllowedMemoryNodes", value),
        "cpu.max" => {
            let (given, period) = value.split_once(' ').unwrap_or((value, ""));
            return quota(&Resources {
                cpu_quota: given.parse().ok(),
                cpu_period: Some(period.trim().parse().unwrap_or(PERIOD)),
                ..Resources::default()
            });
        }
        _ => None,
    };
    found.into_iter().collect()
}

/// Rules of devices, on version 1 only (see the module's documentation).
pub(crate) fn devices(version: Version, rules: &[DeviceRule]) -> Vec<Property> {
    if version == Version::V2 || rules.is_empty() {
        return Vec::new();
    }
    let (policy, allowed) = match devices::access(rules) {
        Access::Everything => ("auto", Vec::new()),
        Access::Listed(allowed) => ("strict", allowed),
    };
    vec![
        property("DevicePolicy", Value::Text(policy.to_owned())),
        // What is given is added to what there was; nothing takes it all away.
        property("DeviceAllow", Value::Pairs(Vec::new())),
        property("DeviceAllow", Value::Pairs(allowed)),
    ]
}

#[cfg(test)]
mod tests {
    use conex_spec::plan::BlockIo;

    use super::*;

    fn plain(properties: Vec<Property>) -> Vec<(&'static str, Value)> {
        properties
            .into_iter()
            .map(|property| (property.name, property.value))
            .collect()
    }

    fn limited() -> Resources {
        Resources {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            memory_reservation: Some(32 << 20),
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpuset_cpus: Some("0-1,9".to_owned()),
            pids: Some(20),
            block_io: BlockIo {
                weight: Some(500),
                ..BlockIo::default()
            },
            ..Resources::default()
        }
    }

    #[test]
    fn limits_of_version_2_have_the_properties_of_runc() {
        let expected = [
            ("MemoryMax", Value::Number(64 << 20)),
            ("MemoryLow", Value::Number(32 << 20)),
            ("MemorySwapMax", Value::Number(32 << 20)),
            ("CPUWeight", Value::Number(59)),
            ("IOWeight", Value::Number(4950)),
            ("AllowedCPUs", Value::Bytes(vec![0b11, 0b10])),
            ("CPUQuotaPerSecUSec", Value::Number(500_000)),
            ("TasksMax", Value::Number(20)),
        ];
        assert_eq!(plain(limits(Version::V2, &limited())), expected);
    }

    #[test]
    fn limits_of_version_1_have_the_properties_of_runc() {
        let expected = [
            ("MemoryLimit", Value::Number(64 << 20)),
            ("CPUShares", Value::Number(512)),
            ("BlockIOWeight", Value::Number(500)),
            ("CPUQuotaPerSecUSec", Value::Number(500_000)),
            ("TasksMax", Value::Number(20)),
        ];
        assert_eq!(plain(limits(Version::V1, &limited())), expected);
    }

    #[test]
    fn no_limit_is_infinity() {
        let resources = Resources {
            memory: Some(-1),
            memory_swap: Some(-1),
            cpu_quota: Some(-1),
            pids: Some(-1),
            ..Resources::default()
        };
        let expected = ["MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"];
        assert_eq!(
            plain(limits(Version::V2, &resources)),
            expected.map(|name| (name, Value::Number(u64::MAX)))
        );
        assert!(limits(Version::V2, &Resources::default()).is_empty());
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_percent() {
        let per_second = |cpu_quota, cpu_period| {
            let limits = quota(&Resources {
                cpu_quota,
                cpu_period,
                ..Resources::default()
            });
            plain(limits).pop().unwrap().1
        };
        assert_eq!(per_second(Some(12_345), Some(100_000)), Value::Number(130_000));
        assert_eq!(per_second(Some(300_000), Some(50_000)), Value::Number(6_000_000));
        assert_eq!(per_second(None, Some(50_000)), Value::Number(u64::MAX));
        let period = &quota(&Resources {
            cpu_period: Some(50_000),
            ..Resources::default()
        })[0];
        assert_eq!((period.name, period.since), ("CPUQuotaPeriodUSec", 242));
    }

    #[test]
    fn lists_become_bits() {
        assert_eq!(bits("0-3"), Some(vec![0x0f]));
        assert_eq!(bits("1, 16\n"), Some(vec![0x02, 0, 0x01]));
        for none in ["", "x", "3-1", "0-99999999", "1-"] {
            assert_eq!(bits(none), None, "{none:?}");
        }
    }

    #[test]
    fn files_of_the_unified_hierarchy_are_told_to_systemd_too() {
        let resources = Resources {
            unified: [
                ("cpu.max", "25000 50000"),
                ("io.max", "8:0 rbps=1"),
                ("memory.high", "max"),
                ("pids.max", "7"),
            ]
            .map(|(file, value)| (file.to_owned(), value.to_owned()))
            .to_vec(),
            ..Resources::default()
        };
        let expected = [
            ("CPUQuotaPeriodUSec", Value::Number(50_000)),
            ("CPUQuotaPerSecUSec", Value::Number(500_000)),
            ("MemoryHigh", Value::Number(u64::MAX)),
            ("TasksMax", Value::Number(7)),
        ];
        assert_eq!(plain(limits(Version::V2, &resources)), expected);
        assert!(limits(Version::V1, &resources).is_empty());
    }

    #[test]
    fn an_idle_group_outweighs_its_shares_where_systemd_knows_it() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_idle: Some(1),
            ..Resources::default()
        };
        let weights: Vec<_> = limits(Version::V2, &resources)
            .into_iter()
            .map(|property| (property.value, property.since))
            .collect();
        assert_eq!(weights, [(Value::Number(100), OLDEST), (Value::Number(0), 252)]);
    }

    #[test]
    fn systemd_is_told_of_devices_on_version_1_alone() {
        let rules = conex_spec::defaults::device_rules();
        assert!(devices(Version::V2, &rules).is_empty());
        let told = plain(devices(Version::V1, &rules));
        assert_eq!(told[0], ("DevicePolicy", Value::Text("strict".to_owned())));
        assert_eq!(told[1], ("DeviceAllow", Value::Pairs(Vec::new())));
        let Value::Pairs(allowed) = &told[2].1 else {
            panic!("{told:?}")
        };
        let has = |path: &str, access: &str| allowed.contains(&(path.to_owned(), access.to_owned()));
        assert!(
            has("/dev/char/1:3", "rwm") && has("char-136", "rwm") && has("char-*", "m"),
            "{allowed:?}"
        );
    }
}
