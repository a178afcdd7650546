//! Making a later process in a running container.
//!
//! ```text
//!   caller ---- clone ----> intermediate: cgroups, namespaces by pidfd
//!      |                        |--- clone(CLONE_PARENT) ---> process: steps, execve
//!      | <- {pid} + pidfd ------|  exits
//!      | reaps both
//! ```
//!
//! The intermediate is needed because a process enters a pid namespace only by its children (setns(2)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use conex_cgroup::Cgroup;
use conex_spec::plan::ExecPlan;
use conex_sys::process::{self, CloneRequest, Cloned, SingleThreaded};
use conex_sys::seqpacket::{self, Socket};
use conex_sys::userns::{self, Groups, IdMap, NEW_USER};
use rustix::thread::LinkNameSpaceType;

use crate::attributes;
use crate::child::{self, Child, Failure};
use crate::error::StartError;
use crate::kernel::KernelMounts;
use crate::mapped;
use crate::start::{Event, Told, close, end, failed, listening, settle};
use crate::status::Report;
use crate::stdio::{self, ChildStdio, ProcessStdio};

/// A later process that executes its program.
#[derive(Debug)]
pub struct Execed {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd; it is the caller's child.
    pub pidfd: OwnedFd,
    /// The caller's side of its standard descriptors.
    pub stdio: ProcessStdio,
}

/// `CLONE_NEW*` of the namespaces that are entered, by their names in `/proc` (namespaces(7)).
const NAMESPACES: [(&str, i32); 6] = [
    ("mnt", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
    ("ipc", 0x0800_0000),
    ("uts", 0x0400_0000),
    ("cgroup", 0x0200_0000),
];

/// Starts a process in the namespaces of `target`, the first process `pid`. `told` is called where it waits for its parent. On
/// failure nothing is left.
pub fn exec(
    plan: &ExecPlan,
    pid: i32,
    target: BorrowedFd<'_>,
    cgroup: Option<&Cgroup>,
    fds: &[OwnedFd],
    told: &mut dyn FnMut(i32, Event) -> Result<(), StartError>,
) -> Result<Execed, StartError> {
    let parent = |operation: &'static str| move |error: io::Error| StartError::of_parent(operation, &error);
    let (child_stdio, stdio) = stdio::prepare(plan.stdio).map_err(parent("make the standard descriptors"))?;
    let (ours, theirs) = seqpacket::pair().map_err(parent("make the status socket"))?;
    let proof = SingleThreaded::verify().map_err(parent("clone"))?;
    let is_mapped = !same_namespace("user", pid);
    let time = time_namespace(pid).map_err(parent("open the time namespace"))?;
    let target = Target {
        pidfd: target,
        namespaces: namespaces(pid, is_mapped),
        time: time.as_ref(),
        groups: groups(pid),
    };
    if is_mapped {
        IdMap::of_process(pid)
            .and_then(|map| mapped::own(stdio.as_ref(), &map))
            .map_err(parent("give the standard descriptors to the user"))?;
    }
    match process::clone(&proof, &CloneRequest::default()).map_err(parent("clone"))? {
        Cloned::Child => {
            drop(ours);
            let child = Child {
                fds,
                cgroup,
                is_placed: false,
                status: &theirs,
                preserved: plan.preserved,
                label: None,
                stdio: plan.stdio,
                is_mapped,
                is_prepared: true,
                root: None,
                kernel: KernelMounts::default(),
                maker: conex_sys::path::Maker::default(),
                is_first: false,
                home: None,
                init: None,
            };
            intermediate(&proof, child, target, &child_stdio, plan)
        }
        Cloned::Parent { pidfd, .. } => {
            close((theirs, child_stdio));
            let followed = follow(&ours, plan, told);
            if let Err(error) = process::wait(pidfd.as_fd()) {
                return Err(StartError::of_parent("wait for the intermediate process", &error));
            }
            let (process, master) = followed?;
            let (pid, pidfd) = process.ok_or_else(|| StartError {
                reason: crate::Reason::Other,
                errno: 0,
                message: "the container's first process has ended".into(),
            })?;
            Ok(Execed {
                pid,
                pidfd,
                stdio: settle(stdio, master)?,
            })
        }
    }
}

/// What becomes of the caller's groups in the user namespace of a process (user_namespaces(7), `setgroups`).
fn groups(pid: i32) -> Groups {
    if userns::denies_groups(Some(pid)) {
        Groups::Kept
    } else {
        Groups::GivenUp
    }
}

/// Whether a process is in the caller's namespace of a kind; entering one's own user namespace is an error (setns(2)).
fn same_namespace(kind: &str, pid: i32) -> bool {
    let link = |of: &str| fs::read_link(format!("/proc/{of}/ns/{kind}")).ok();
    link("self") == link(&pid.to_string())
}

/// The time namespace of a container that has one of its own (time_namespaces(7)). One that another runtime started may be
/// about to come into it by executing its program; its children would be in it already.
fn time_namespace(pid: i32) -> io::Result<Option<OwnedFd>> {
    let path = format!("/proc/{pid}/ns/time_for_children");
    // Kernels may have none.
    match (fs::read_link("/proc/self/ns/time"), fs::read_link(&path)) {
        (Ok(ours), Ok(theirs)) if ours != theirs => Ok(Some(fs::File::open(path)?.into())),
        _ => Ok(None),
    }
}

/// Where the process goes.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The container's first process.
    pidfd: BorrowedFd<'a>,
    /// `CLONE_NEW*` of what is entered.
    namespaces: i32,
    /// A time namespace of the container's own.
    time: Option<&'a OwnedFd>,
    /// What becomes of the caller's groups in its user namespace.
    groups: Groups,
}

fn intermediate(
    proof: &SingleThreaded,
    child: Child<'_>,
    target: Target<'_>,
    stdio: &ChildStdio,
    plan: &ExecPlan,
) -> ! {
    // "Before the process is moved into the container's cgroup": there it could take the time of others.
    if let Some(cpus) = &plan.initial_affinity
        && let Err(failure) = attributes::affinity(cpus)
    {
        fail(&child, None, failure);
    }
    let joined = child.cgroup.map_or(Ok(()), Cgroup::join);
    if let Err((step, failure)) = attributes::prepare(&plan.steps, child.is_mapped) {
        fail(&child, step, failure);
    }
    let made = joined.and_then(|()| enter(target, child.is_mapped)).and_then(|()| {
        process::clone(
            proof,
            &CloneRequest {
                sibling: true,
                ..CloneRequest::default()
            },
        )
    });
    match made {
        Ok(Cloned::Child) => child::run(child, stdio, &plan.steps),
        Ok(Cloned::Parent { pid, pidfd }) => {
            let told = Report::Process { pid }.send(child.status, Some(&pidfd));
            process::exit(i32::from(told.is_err()))
        }
        Err(error) => fail(&child, None, Failure::on("enter the container")(error)),
    }
}

/// Root may enter what it is in already; with rights in the container's user namespace alone nobody enters one of the host's.
fn namespaces(pid: i32, is_mapped: bool) -> i32 {
    let entered = NAMESPACES
        .iter()
        .filter(|(kind, _)| !is_mapped || !same_namespace(kind, pid));
    let user = if is_mapped { NEW_USER } else { 0 };
    entered.fold(user, |flags, (_, flag)| flags | flag)
}

fn enter(target: Target<'_>, is_mapped: bool) -> io::Result<()> {
    let Target {
        pidfd,
        namespaces,
        time,
        groups,
    } = target;
    process::enter_namespaces(pidfd, namespaces)?;
    if let Some(time) = time {
        rustix::thread::move_into_link_name_space(time.as_fd(), Some(LinkNameSpaceType::Time))?;
    }
    if is_mapped { userns::become_root(groups) } else { Ok(()) }
}

fn fail(child: &Child<'_>, step: Option<usize>, Failure { errno, detail }: Failure) -> ! {
    // Without a listener the exit code has to do.
    let _ = Report::Failed { step, errno, detail }.send(child.status, None);
    process::exit(1)
}

type Process = (i32, OwnedFd);

/// Listens to both processes until neither has anything to tell; their messages come in any order.
fn follow(
    status: &Socket,
    plan: &ExecPlan,
    told: &mut Told<'_>,
) -> Result<(Option<Process>, Option<OwnedFd>), StartError> {
    let (mut process, mut master, mut failure) = (None::<Process>, None, None);
    let mut listens = None;
    loop {
        if let (Some((pid, pidfd)), Some(descriptor)) = (&process, listens) {
            listens = None;
            if let Err(error) = listening(status, (*pid, pidfd), descriptor, told) {
                end(pidfd);
                return Err(error);
            }
        }
        match Report::receive(status).map_err(|error| StartError::of_parent("listen to the process", &error))? {
            None => break,
            Some((Report::Process { pid }, Some(pidfd))) => process = Some((pid, pidfd)),
            Some((Report::Terminal, fd)) => master = fd,
            Some((Report::Listening { descriptor }, _)) => listens = Some(descriptor),
            Some((Report::Failed { step, errno, detail }, _)) => {
                failure = Some(failed(&plan.steps, step, errno, &detail));
            }
            Some((Report::Unplaced | Report::Held | Report::Process { .. }, _)) => {}
        }
    }
    match failure {
        None => Ok((process, master)),
        Some(failure) => {
            if let Some((_, pidfd)) = &process {
                end(pidfd);
            }
            Err(failure)
        }
    }
}
