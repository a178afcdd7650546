//! The last steps before `execve`, the same for the first process and for later ones.

use std::path::PathBuf;

use crate::capabilities;
use crate::environment::environment;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::plan::{Capabilities, SecurityModule, Stdio, Step, UserSpec};
use crate::request::ProcessRequest;

/// Docker's sets for a process of a container: the inheritable one is empty, so that a program with file capabilities gains
/// nothing by it, and there is no ambient one. The kernel clears permitted and effective at `execve` for other users than
/// root (capabilities(7), "Transformation of capabilities during execve").
pub(crate) fn capability_sets(set: u64, facts: &HostFacts) -> Capabilities {
    // What the kernel or our own bounding set lacks cannot be given.
    let set = set & facts.capabilities & capabilities::ALL;
    Capabilities {
        bounding: set,
        effective: set,
        permitted: set,
        inheritable: 0,
        ambient: 0,
    }
}

/// Steps that end in `Step::Execute`.
pub(crate) fn tail(process: &ProcessRequest, hostname: &str, sets: Capabilities, filtered: bool) -> Result<Vec<Step>> {
    if process.argv.first().is_none_or(String::is_empty) {
        return Err(Error::NoCommand);
    }
    let mut steps = Vec::new();
    let filter = process
        .seccomp
        .filter(|_| filtered)
        .map(|filter| Step::Seccomp { filter, flags: 0 });

    // The directory is entered, and made where it is absent, with root's rights: Docker makes it for root, and the user may
    // have no right to search the way to it.
    steps.push(Step::WorkingDirectory {
        path: working_directory(process)?,
        create: true,
    });
    // Without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter (seccomp(2)), which the next steps take away.
    if !process.no_new_privileges {
        steps.extend(filter.clone());
    }
    steps.push(Step::User(UserSpec::Named {
        user: process.user.clone(),
        additional: process.group_add.clone(),
    }));
    steps.push(Step::Capabilities(sets));
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
        // With it the filter comes as late as can be, and so covers as little of our own work as can be.
        steps.extend(filter);
    }
    steps.push(Step::Execute {
        argv: process.argv.clone(),
        env: environment(&process.env, hostname, matches!(process.stdio, Stdio::Terminal { .. })),
    });
    Ok(steps)
}

/// Only the first process finds its directory made.
pub(crate) fn make_no_directory(steps: &mut [Step]) {
    for step in steps {
        if let Step::WorkingDirectory { create, .. } = step {
            *create = false;
        }
    }
}

fn working_directory(process: &ProcessRequest) -> Result<PathBuf> {
    match process.working_directory.as_str() {
        "" => Ok(PathBuf::from("/")),
        path if path.starts_with('/') => Ok(PathBuf::from(path)),
        path => Err(Error::WorkingDirectory { path: path.to_string() }),
    }
}

/// Refuses a score outside of the kernel's range (proc_pid_oom_score_adj(5)).
pub(crate) fn oom_step(score: Option<i32>) -> Result<Option<Step>> {
    match score {
        Some(value) if !(-1000..=1000).contains(&value) => Err(Error::OomScoreAdj { value }),
        Some(value) => Ok(Some(Step::OomScoreAdj(value))),
        None => Ok(None),
    }
}

/// Labels for the program, and for an init that is executed before it.
pub(crate) fn label_steps(process: &ProcessRequest) -> impl Iterator<Item = Step> {
    let labels = [
        (SecurityModule::AppArmor, process.apparmor.clone()),
        (SecurityModule::SeLinux, process.selinux.clone()),
    ];
    let given = |(module, label): (SecurityModule, Option<String>)| Some(Step::Label { module, label: label? });
    labels.into_iter().filter_map(given)
}

/// Session, umask and session keyring. A terminal becomes a controlling one only of a session's leader (tty_ioctl(4)), so the
/// session comes before `Step::Console`.
pub(crate) fn session_steps(keyring: Option<&str>, umask: u32) -> Vec<Step> {
    let mut steps = vec![Step::NewSession, Step::Umask(umask)];
    steps.extend(keyring.map(|id| Step::SessionKeyring(format!("_ses.{id}"))));
    steps
}
