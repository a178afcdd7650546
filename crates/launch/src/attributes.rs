//! Steps that give the calling process something that its children and its program have from it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use conex_spec::plan::{MemoryPolicy, Scheduler, SecurityModule, Step};
use conex_sys::scheduling;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use crate::child::Failure;

/// Takes, for the processes that this one makes, the steps that are written to the host's `/proc`: that of a container could be
/// anything that the image put there. For those of another user namespace limits are set as well, which they have no right to.
/// Otherwise limits are theirs to take: the way to them needs more descriptors than may be left.
pub(crate) fn prepare(steps: &[Step], is_mapped: bool) -> Result<(), (Option<usize>, Failure)> {
    for (index, step) in steps.iter().enumerate() {
        let taken = match step {
            Step::Rlimit { name, soft, hard } if is_mapped => rlimit(name, *soft, *hard),
            Step::OomScoreAdj(score) => oom_score(*score),
            Step::Label { module, label } => self::label(*module, label),
            _ => Ok(()),
        };
        taken.map_err(|failure| (Some(index), failure))?;
    }
    Ok(())
}

pub(crate) fn oom_score(score: i32) -> Result<(), Failure> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(Failure::on(format!("write {score} to /proc/self/oom_score_adj")))
}

/// The label that the next program gets (`setexeccon(3)`, `aa_change_onexec(2)`), and with SELinux the keys that are made
/// until then (`setkeycreatecon(3)`): the program could not reach its own keyring else.
pub(crate) fn label(module: SecurityModule, label: &str) -> Result<(), Failure> {
    match module {
        SecurityModule::AppArmor => apply(
            // Beside other modules it has a directory of its own, since Linux 5.8.
            &["/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"],
            (label, &format!("exec {label}")),
        ),
        SecurityModule::SeLinux => ["keycreate", "exec"].iter().try_for_each(|attribute| {
            let file = format!("/proc/thread-self/attr/{attribute}");
            // The kernel takes an empty line for no context (`selinux_setprocattr`); writing nothing is no call.
            apply(&[&file], (label, if label.is_empty() { "\n" } else { label }))
        }),
    }
}

fn apply(files: &[&str], (label, text): (&str, &str)) -> Result<(), Failure> {
    let on = || Failure::on(format!("apply the label {label:?}"));
    let file = files.iter().find(|file| Path::new(file).exists()).unwrap_or(&files[0]);
    let mut file = OpenOptions::new().write(true).open(file).map_err(on())?;
    file.write_all(text.as_bytes()).map_err(on())
}

pub(crate) fn scheduler(wanted: &Scheduler) -> Result<(), Failure> {
    let times = [wanted.runtime, wanted.deadline, wanted.period];
    let priorities = (wanted.nice, wanted.priority);
    scheduling::set_scheduler((wanted.policy, wanted.flags), priorities, times).map_err(Failure::on(format!(
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

pub(crate) fn rlimit(name: &str, soft: u64, hard: u64) -> Result<(), Failure> {
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
