//! Making a first process in a user namespace.
//!
//! ```text
//!   caller ---- clone ----> intermediate: limits, directory, user namespace
//!      |                        |--- clone3(CLONE_PARENT | CLONE_NEW*) ---> process: waits
//!      | <- {pid} + pidfd ------|  exits                                       |
//!      | reaps it, gives the pipes away                                        |
//!      | -- go --------------------------------------------------------------> root, steps, execve
//! ```
//!
//! The intermediate is needed because namespaces belong to the user namespace of whoever makes them (namespaces(7)), and
//! because nobody comes back from one (setns(2)). It has the host's rights until it enters. Until it is root of the namespace
//! the process is still the host's by its id, without a right beyond that: it may be born in a cgroup of the host's root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use conex_spec::plan::{InitPlan, Step, UserNamespace};
use conex_sys::process::{self, CloneRequest, Cloned, SingleThreaded};
use conex_sys::seqpacket::Socket;
use conex_sys::userns::{self, Groups, IdMap};
use rustix::fs::{Gid, Uid};
use rustix::thread::LinkNameSpaceType;

use crate::attributes;
use crate::child::{self, Child, Failure};
use crate::error::StartError;
use crate::start::{end, failed};
use crate::status::Report;
use crate::stdio::{ChildStdio, ProcessStdio};

/// What goes from the caller to the process.
pub(crate) struct Making<'a> {
    /// The plan.
    pub(crate) plan: &'a InitPlan,
    /// `CLONE_NEW*` bits of the namespaces that are made.
    pub(crate) namespaces: u64,
    /// Directory of a v2 cgroup that it is born in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// Makes the process; it waits until `release`.
pub(crate) fn clone(
    proof: &SingleThreaded,
    making: &Making<'_>,
    child: Child<'_>,
    ours: Socket,
    stdio: &ChildStdio,
) -> Result<(i32, OwnedFd, Socket), StartError> {
    let parent = |operation: &'static str| move |error: std::io::Error| StartError::of_parent(operation, &error);
    match process::clone(proof, &CloneRequest::default()).map_err(parent("clone"))? {
        Cloned::Child => {
            // Held here, the end of the caller would not be seen.
            drop(ours);
            intermediate(proof, making, child, stdio)
        }
        Cloned::Parent { pidfd, .. } => {
            let told = Report::receive(&ours).map_err(parent("listen to the process"));
            process::wait(pidfd.as_fd()).map_err(parent("wait for the intermediate process"))?;
            match told? {
                Some((Report::Process { pid }, Some(pidfd))) => Ok((pid, pidfd, ours)),
                Some((Report::Failed { step, errno, detail }, _)) => {
                    Err(failed(&making.plan.steps, step, errno, &detail))
                }
                _ => Err(StartError {
                    reason: crate::Reason::Other,
                    errno: 0,
                    message: "the intermediate process was lost".into(),
                }),
            }
        }
    }
}

/// Gives the process its pipes, and lets it go.
pub(crate) fn release(
    (pid, pidfd): (i32, &OwnedFd),
    stdio: Option<&ProcessStdio>,
    ours: &Socket,
) -> Result<(), StartError> {
    let parent = |operation: &'static str| move |error: std::io::Error| StartError::of_parent(operation, &error);
    let released = IdMap::of_process(pid)
        .map_err(parent("read the user namespace's ids"))
        .and_then(|map| own(stdio, &map).map_err(parent("give the standard descriptors to the user")))
        .and_then(|()| ours.send(b"go", &[]).map_err(parent("let the process go on")));
    released.inspect_err(|_| end(pidfd))
}

/// Gives pipes to root of a user namespace: programs reopen `/dev/stdout` by its link in `/proc`, which asks for permission
/// on the pipe itself.
pub(crate) fn own(stdio: Option<&ProcessStdio>, map: &IdMap) -> std::io::Result<()> {
    let Some(ProcessStdio::Pipes { stdin, stdout, stderr }) = stdio else {
        return Ok(());
    };
    let Some((uid, gid)) = map.outside((0, 0)) else {
        return Ok(());
    };
    for pipe in stdin.iter().chain([stdout, stderr]) {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

fn intermediate(proof: &SingleThreaded, making: &Making<'_>, child: Child<'_>, stdio: &ChildStdio) -> ! {
    let made = attributes::prepare(&making.plan.steps, true)
        .and_then(|()| enter(making.plan, &child).map_err(|failure| (None, failure)))
        .and_then(|()| {
            let request = CloneRequest {
                namespaces: making.namespaces,
                cgroup: making.cgroup,
                sibling: true,
            };
            process::clone(proof, &request).map_err(|error| (None, Failure::on("clone")(error)))
        });
    match made {
        Ok(Cloned::Child) => begin(child, stdio, &making.plan.steps),
        Ok(Cloned::Parent { pid, pidfd }) => {
            let told = Report::Process { pid }.send(child.status, Some(&pidfd));
            process::exit(i32::from(told.is_err()))
        }
        Err((step, Failure { errno, detail })) => {
            // Without a listener the exit code has to do.
            let _ = Report::Failed { step, errno, detail }.send(child.status, None);
            process::exit(1)
        }
    }
}

fn begin(child: Child<'_>, stdio: &ChildStdio, steps: &[Step]) -> ! {
    let Ok(Some(_)) = child.status.receive() else {
        // The caller has given it up.
        process::exit(1)
    };
    match userns::become_root(Groups::GivenUp) {
        Ok(()) => child::run(child, stdio, steps),
        Err(error) => child.fail(None, Failure::on("become root of the user namespace")(error)),
    }
}

fn enter(plan: &InitPlan, child: &Child<'_>) -> Result<(), Failure> {
    let Some(UserNamespace { fd, directory }) = &plan.user_namespace else {
        return Ok(());
    };
    rustix::process::chdir(directory)
        .map_err(|errno| Failure::on(format!("chdir to {}", directory.display()))(errno.into()))?;
    let join = |fd: BorrowedFd<'_>, kind| {
        rustix::thread::move_into_link_name_space(fd, Some(kind))
            .map_err(|errno| Failure::on(format!("enter the {kind:?} namespace"))(errno.into()))
    };
    join(child.fd(*fd)?, LinkNameSpaceType::User)?;
    match plan.pid_namespace {
        // Its children are in it.
        Some(slot) => join(child.fd(slot)?, LinkNameSpaceType::ProcessID),
        None => Ok(()),
    }
}
