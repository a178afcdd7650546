//! `process.scheduler`, `process.ioPriority`, `process.execCPUAffinity`, `linux.personality`, `linux.memoryPolicy`,
//! `linux.timeOffsets`.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType,
    Process, Scheduler as OciScheduler,
};

use crate::error::{Error, Result};
use crate::plan::{ClockOffsets, MemoryPolicy, Scheduler, Step};

fn refused(field: &'static str, reason: impl Into<String>) -> Error {
    Error::Specification {
        field,
        reason: reason.into(),
    }
}

/// Steps that a process takes while it still has the rights for them.
pub(super) fn steps(linux: Option<&Linux>, process: &Process) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(given) = process.scheduler() {
        steps.push(Step::Scheduler(scheduler(given)?));
    }
    if let Some(given) = process.io_priority() {
        steps.push(Step::IoPriority(io_priority(*given)?));
    }
    let Some(linux) = linux else { return Ok(steps) };
    if let Some(given) = linux.memory_policy() {
        steps.push(Step::MemoryPolicy(memory_policy(given)?));
    }
    if let Some(given) = linux.personality() {
        steps.push(Step::Personality(personality(given)?));
    }
    Ok(steps)
}

fn scheduler(given: &OciScheduler) -> Result<Scheduler> {
    const FIELD: &str = "process.scheduler";
    let policy = match given.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let clamps = [
        LinuxSchedulerFlag::SchedFlagUtilClampMin,
        LinuxSchedulerFlag::SchedFlagUtilClampMax,
    ];
    if given.flags().iter().flatten().any(|flag| clamps.contains(flag)) {
        return Err(refused(
            FIELD,
            "the specification has no values for clamps of utilisation",
        ));
    }
    let flags = given.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    let (nice, priority) = (given.nice().unwrap_or(0), given.priority().unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return Err(refused(FIELD, format!("nice {nice} is not between -20 and 19")));
    }
    let is_real_time = matches!(policy, 1 | 2);
    let right = if is_real_time { 1..=99 } else { 0..=0 };
    if !right.contains(&priority) {
        let (least, most) = (right.start(), right.end());
        return Err(refused(
            FIELD,
            format!("priority {priority} is not between {least} and {most}"),
        ));
    }
    let times = [*given.runtime(), *given.deadline(), *given.period()].map(|time| time.unwrap_or(0));
    if policy != 6 && times != [0; 3] {
        return Err(refused(
            FIELD,
            "runtime, deadline and period are for SCHED_DEADLINE only",
        ));
    }
    Ok(Scheduler {
        policy,
        flags: flags.fold(0, |all, flag| all | flag),
        nice,
        priority: priority.unsigned_abs(),
        runtime: times[0],
        deadline: times[1],
        period: times[2],
    })
}

/// Class and level as `ioprio_set(2)` wants them.
fn io_priority(given: LinuxIOPriority) -> Result<u16> {
    let class: u16 = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(given.priority()) {
        Ok(level @ 0..=7) => Ok(class << 13 | level),
        _ => Err(refused(
            "process.ioPriority",
            format!("priority {} is not between 0 and 7", given.priority()),
        )),
    }
}

/// "There are no flags supported at this time."
fn personality(given: &LinuxPersonality) -> Result<u32> {
    if given.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(refused("linux.personality", "flags are not supported"));
    }
    Ok(match given.domain() {
        LinuxPersonalityDomain::PerLinux => 0x0,
        LinuxPersonalityDomain::PerLinux32 => 0x8,
    })
}

fn memory_policy(given: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    const FIELD: &str = "linux.memoryPolicy";
    let mode = match given.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = given.flags().iter().flatten().map(|flag| match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => 0x8000,
        MemoryPolicyFlagType::MpolFRelativeNodes => 0x4000,
        MemoryPolicyFlagType::MpolFNumaBalancing => 0x2000,
    });
    let text = given.nodes().as_deref().unwrap_or_default();
    Ok(MemoryPolicy {
        mode: flags.fold(mode, |all, flag| all | flag),
        nodes: if text.is_empty() {
            Vec::new()
        } else {
            list(FIELD, text)?
        },
    })
}

/// CPUs by number, where any are asked for.
type Cpus = Option<Vec<u32>>;

/// CPUs that a later process is kept on before it joins the cgroup, and from then on.
pub(super) fn affinity(given: &ExecCPUAffinity) -> Result<(Cpus, Cpus)> {
    const FIELD: &str = "process.execCPUAffinity";
    let cpus = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| list(FIELD, text)).transpose()
    };
    Ok((cpus(given.initial())?, cpus(given.cpu_affinity_final())?))
}

/// Clocks of a new time namespace.
pub(super) fn clocks(linux: &Linux) -> Result<ClockOffsets> {
    let mut offsets = ClockOffsets::default();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        let offset = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        match clock.as_str() {
            "monotonic" => offsets.monotonic = offset,
            "boottime" => offsets.boot = offset,
            other => {
                return Err(refused(
                    "linux.timeOffsets",
                    format!("{other:?} is no clock of a namespace"),
                ));
            }
        }
    }
    Ok(offsets)
}

/// Largest number in a list; the kernel knows no more CPUs or nodes.
const MAX_LISTED: u32 = 8191;

/// The list format of cpuset(7).
fn list(field: &'static str, text: &str) -> Result<Vec<u32>> {
    let invalid = || refused(field, format!("{text:?} is no list of numbers"));
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number <= MAX_LISTED);
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = number(first).zip(number(last)).ok_or_else(invalid)?;
        if first > last {
            return Err(invalid());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(json: serde_json::Value) -> Process {
        let mut process = serde_json::json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        let (Some(into), serde_json::Value::Object(more)) = (process.as_object_mut(), json) else {
            panic!("objects")
        };
        into.extend(more);
        serde_json::from_value(process).unwrap()
    }

    #[test]
    fn numbers_are_the_kernels() {
        let given = process(serde_json::json!({
            "scheduler": {"policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}
        }));
        let fifo = Scheduler {
            policy: 1,
            flags: 1,
            priority: 7,
            ..Scheduler::default()
        };
        let expected = [Step::Scheduler(fifo), Step::IoPriority(0x4004)];
        assert_eq!(steps(None, &given).unwrap(), expected);
    }

    #[test]
    fn values_out_of_range_are_refused_by_their_field() {
        for (given, field) in [
            (
                serde_json::json!({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}),
                "process.scheduler",
            ),
            (
                serde_json::json!({"scheduler": {"policy": "SCHED_FIFO"}}),
                "process.scheduler",
            ),
            (
                serde_json::json!({"scheduler": {"policy": "SCHED_OTHER", "runtime": 1}}),
                "process.scheduler",
            ),
            (
                serde_json::json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
                "process.ioPriority",
            ),
        ] {
            let error = steps(None, &process(given)).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn lists_are_ranges_and_numbers() {
        assert_eq!(list("field", "0-2,7").unwrap(), [0, 1, 2, 7]);
        for text in ["", "2-1", "x", "1-", "0-4294967295"] {
            assert!(list("field", text).is_err(), "{text}");
        }
    }
}
