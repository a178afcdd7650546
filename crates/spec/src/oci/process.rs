//! `process`.

use oci_spec::runtime::{Capabilities as OciCapabilities, Linux, Process};

use super::{missing, scheduling};
use crate::capabilities;
use crate::defaults::UMASK;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::plan::{Capabilities, FdSlot, SecurityModule, Stdio, Step, UserSpec};
use crate::seccomp::NEW_LISTENER;

/// Terminal or the runtime's own descriptors.
pub(super) fn stdio(process: &Process) -> Result<Stdio> {
    if !process.terminal().unwrap_or(false) {
        return Ok(Stdio::Inherit);
    }
    let size = |value: u64| {
        u16::try_from(value).map_err(|_| Error::Specification {
            field: "process.consoleSize",
            reason: format!("{value} is more than {}", u16::MAX),
        })
    };
    match process.console_size() {
        None => Ok(Stdio::Terminal { rows: 0, columns: 0 }),
        Some(console) => Ok(Stdio::Terminal {
            rows: size(console.height())?,
            columns: size(console.width())?,
        }),
    }
}

pub(super) fn console(process: &Process) -> Option<Step> {
    process.terminal().unwrap_or(false).then_some(Step::Console)
}

pub(super) fn umask(process: &Process) -> u32 {
    process.user().umask().unwrap_or(UMASK)
}

/// What comes between a process that is confined and its program.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// Its filter of system calls.
    pub(super) filter: Option<Step>,
    /// Where it waits for `start`.
    pub(super) fifo: Option<FdSlot>,
    /// Hooks that run then.
    pub(super) hooks: Option<Step>,
}

/// The steps that end in `Step::Execute`; their order is that of `crate::process::tail`.
pub(super) fn tail(
    (linux, process): (&Linux, &Process),
    facts: &HostFacts,
    Late { filter, fifo, hooks }: Late,
) -> Result<Vec<Step>> {
    let argv = process
        .args()
        .clone()
        .filter(|argv| !argv.is_empty())
        .ok_or_else(|| missing("process.args"))?;
    if !process.cwd().is_absolute() {
        let reason = format!("{:?} is not an absolute path", process.cwd().display().to_string());
        return Err(Error::Specification {
            field: "process.cwd",
            reason,
        });
    }
    let env = process.env().clone().unwrap_or_default();
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);

    let mut steps: Vec<Step> = process
        .rlimits()
        .iter()
        .flatten()
        .map(|limit| Step::Rlimit {
            name: limit.typ().to_string(),
            soft: limit.soft(),
            hard: limit.hard(),
        })
        .collect();
    steps.extend(scheduling::steps(Some(linux), process)?);
    steps.push(Step::WorkingDirectory {
        path: process.cwd().clone(),
        create: true,
    });
    if !no_new_privileges {
        steps.extend(filter.clone());
    }
    let user = process.user();
    let additional = user.additional_gids().clone().unwrap_or_default();
    steps.push(Step::User(UserSpec::Ids {
        uid: user.uid(),
        gid: user.gid(),
        additional,
    }));
    steps.push(Step::Capabilities(sets(process, facts)?));
    // With the user's own rights, which decide whether a program may be executed.
    steps.push(Step::FindProgram {
        program: argv[0].clone(),
        env: env.clone(),
    });
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    // Whoever listens gets the listener before the container is said to be made.
    let listens = matches!(filter, Some(Step::Seccomp { flags, .. }) if flags & NEW_LISTENER != 0);
    let (early, late) = if listens { (filter, None) } else { (None, filter) };
    if no_new_privileges {
        steps.extend(early);
    }
    // Before a filter that can come late: waiting needs system calls that a profile may not name.
    steps.extend(fifo.map(|fifo| Step::AwaitStart { fifo }));
    steps.extend(hooks);
    if no_new_privileges {
        steps.extend(late);
    }
    steps.push(Step::Execute { argv, env });
    Ok(steps)
}

/// Those that this kernel does not have, or that the runtime itself has not, are left out, as runc does.
fn sets(process: &Process, facts: &HostFacts) -> Result<Capabilities> {
    let Some(given) = process.capabilities() else {
        return Ok(Capabilities::default());
    };
    let set = |names: &Option<OciCapabilities>| -> Result<u64> {
        let names = names.iter().flatten();
        let bits = names.map(|name| capabilities::parse(&name.to_string()));
        let all = bits.collect::<Result<Vec<u64>>>()?;
        Ok(all.into_iter().fold(0, |set, bit| set | bit) & facts.capabilities)
    };
    let (permitted, inheritable) = (set(given.permitted())?, set(given.inheritable())?);
    Ok(Capabilities {
        bounding: set(given.bounding())?,
        effective: set(given.effective())? & permitted,
        permitted,
        inheritable,
        // The kernel raises only what is permitted and inheritable (prctl(2), PR_CAP_AMBIENT_RAISE); runc passes over the
        // rest as well.
        ambient: set(given.ambient())? & permitted & inheritable,
    })
}

/// Labels by security modules. To run without one that was asked for would be to run unconfined.
pub(super) fn labels(process: &Process, facts: &HostFacts) -> Result<Vec<Step>> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let mut steps = Vec::new();
    if let Some(label) = given(process.apparmor_profile()) {
        if !facts.apparmor {
            return Err(Error::Specification {
                field: "process.apparmorProfile",
                reason: "apparmor is not enabled on this host".to_string(),
            });
        }
        let module = SecurityModule::AppArmor;
        steps.push(Step::Label { module, label });
    }
    if let Some(label) = given(process.selinux_label()) {
        if !facts.selinux {
            return Err(Error::NoSeLinux);
        }
        let module = SecurityModule::SeLinux;
        steps.push(Step::Label { module, label });
    }
    Ok(steps)
}
