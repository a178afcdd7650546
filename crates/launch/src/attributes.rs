//! Steps that give the calling process something that its children and its program have from it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use conex_spec::plan::{MemoryPolicy, Scheduler, SecurityModule, Step};
use conex_sys::scheduling;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use crate::child::Failure;

/// Carries out the steps that need rights on the host, or its own `/proc`; they reach the program from whichever process on
/// the way takes them.
pub(crate) fn outside(step: &Step) -> Result<(), Failure> {
    match step {
        Step::Rlimit { name, soft, hard } => rlimit(name, *soft, *hard),
        Step::OomScoreAdj(value) => fs::write("/proc/self/oom_score_adj", value.to_string())
            .map_err(Failure::on(format!("write {value} to /proc/self/oom_score_adj"))),
        Step::Label { module, label } => self::label(*module, label),
        _ => Ok(()),
    }
}

/// Whether `outside` has something to do for a step.
pub(crate) fn is_outside(step: &Step) -> bool {
    matches!(step, Step::Rlimit { .. } | Step::OomScoreAdj(_) | Step::Label { .. })
}

/// The label that the next program gets (`setexeccon(3)`, `aa_change_onexec(2)`). It is written to the host's `/proc`: that of
/// a container could be anything that the image put there.
fn label(module: SecurityModule, label: &str) -> Result<(), Failure> {
    let on = || Failure::on(format!("apply the label {label:?}"));
    let (files, text): (&[&str], _) = match module {
        // Beside other modules it has a directory of its own, since Linux 5.8.
        SecurityModule::AppArmor => (
            &["/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"],
            format!("exec {label}"),
        ),
        SecurityModule::SeLinux => (&["/proc/thread-self/attr/exec"], label.to_owned()),
    };
    let file = files.iter().find(|file| Path::new(file).exists()).unwrap_or(&files[0]);
    let mut file = OpenOptions::new().write(true).open(file).map_err(on())?;
    file.write_all(text.as_bytes()).map_err(on())
}

pub(crate) fn scheduler(wanted: &Scheduler) -> Result<(), Failure> {
    let attributes = scheduling::Attributes {
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    scheduling::set_attributes(attributes).map_err(Failure::on(format!(
        "set scheduling policy {} with nice {} and priority {}",
        wanted.policy, wanted.nice, wanted.priority
    )))
}

pub(crate) fn memory_policy(wanted: &MemoryPolicy) -> Result<(), Failure> {
    scheduling::set_memory_policy(wanted.mode, &wanted.nodes).map_err(Failure::on(format!(
        "set memory policy {:#x} for the nodes {:?}",
        wanted.mode, wanted.nodes
    )))
}

pub(crate) fn affinity(cpus: &[u32]) -> Result<(), Failure> {
    scheduling::set_affinity(cpus).map_err(Failure::on(format!("keep the process on the CPUs {cpus:?}")))
}

fn rlimit(name: &str, soft: u64, hard: u64) -> Result<(), Failure> {
    let resource = match name.strip_prefix("RLIMIT_").unwrap_or(name) {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => {
            return Err(Failure {
                errno: Errno::INVAL.raw_os_error(),
                detail: format!("set rlimit {name}"),
            });
        }
    };
    let limit = |value: u64| (value != u64::MAX).then_some(value);
    rustix::process::setrlimit(
        resource,
        Rlimit {
            current: limit(soft),
            maximum: limit(hard),
        },
    )
    .map_err(|errno| Failure::on(format!("error setting rlimit type {name}"))(errno.into()))
}
