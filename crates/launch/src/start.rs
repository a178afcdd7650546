//! Making a container's first process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use conex_cgroup::{Cgroup, CgroupError, Layout};
use conex_spec::plan::{FdSlot, InitPlan, Namespace, Step};
use conex_sys::process::{self, CloneRequest, Cloned, SingleThreaded};
use conex_sys::seqpacket::{self, Socket};
use rustix::thread::LinkNameSpaceType;

use crate::child::{self, Child};
use crate::error::StartError;
use crate::kernel::KernelMounts;
use crate::listener;
use crate::mapped::{self, Making};
use crate::status::Report;
use crate::stdio::{self, ChildStdio, ProcessStdio};

/// A first process that executes its program.
#[derive(Debug)]
pub struct Started {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd; it is the caller's child.
    pub pidfd: OwnedFd,
    /// The caller's side of its standard descriptors.
    pub stdio: ProcessStdio,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// Its mount, network and IPC namespaces: while they are held, its exit does not wait for their teardown.
    pub namespaces: Vec<OwnedFd>,
}

/// What a process waits for its parent with.
#[derive(Debug)]
pub enum Event {
    /// Its plan holds it (`Step::Hold`).
    Held,
    /// Its filter asks about system calls, and this is where they are heard and answered.
    Listening(OwnedFd),
}

/// Is called with the process's pid when it waits; it goes on when this returns, or ends where this fails.
pub(crate) type Told<'a> = dyn FnMut(i32, Event) -> Result<(), StartError> + 'a;

static LAYOUT: OnceLock<Layout> = OnceLock::new();

/// The host's cgroup layout, probed once per process and inherited by its forks.
pub(crate) fn layout() -> io::Result<&'static Layout> {
    if let Some(layout) = LAYOUT.get() {
        return Ok(layout);
    }
    let layout = Layout::probe()?;
    Ok(LAYOUT.get_or_init(|| layout))
}

/// Probes what every start needs, so that forks of this process find it done.
pub fn warm() -> io::Result<()> {
    layout().map(|_| ())
}

/// Starts the first process of a plan. `told` is called where it waits for its parent. On failure nothing is left.
pub fn start(plan: &InitPlan, fds: &[OwnedFd], told: &mut Told<'_>) -> Result<Started, StartError> {
    let mut cgroup = make_cgroup(plan)?;
    let outcome = launch(plan, fds, cgroup.as_mut(), told);
    match outcome {
        Ok(launched) => Ok(Started {
            pid: launched.pid,
            pidfd: launched.pidfd,
            stdio: launched.stdio,
            cgroup,
            namespaces: hold_namespaces(launched.pid),
        }),
        Err(error) => {
            if let Some(cgroup) = &mut cgroup {
                // The first error is the one to tell.
                let _ = cgroup.kill_all();
                let _ = cgroup.remove();
            }
            Err(error)
        }
    }
}

fn make_cgroup(plan: &InitPlan) -> Result<Option<Cgroup>, StartError> {
    let Some(wanted) = &plan.cgroup else { return Ok(None) };
    let layout = layout().map_err(|error| StartError::of_parent("probe the cgroups", &error))?;
    Cgroup::create(layout, wanted).map(Some).map_err(|error| limit(&error))
}

/// Has systemd make the cgroup around the process, which waits.
fn place(plan: &InitPlan, cgroup: Option<&mut Cgroup>, pid: i32) -> Result<(), StartError> {
    let (Some(cgroup), Some(wanted)) = (cgroup, &plan.cgroup) else {
        return Ok(());
    };
    let layout = layout().map_err(|error| StartError::of_parent("probe the cgroups", &error))?;
    cgroup.place(layout, wanted, pid).map_err(|error| limit(&error))
}

fn limit(error: &CgroupError) -> StartError {
    StartError {
        reason: crate::Reason::Limit,
        errno: 0,
        message: error.to_string(),
    }
}

struct Launched {
    pid: i32,
    pidfd: OwnedFd,
    stdio: ProcessStdio,
}

fn launch(
    plan: &InitPlan,
    fds: &[OwnedFd],
    cgroup: Option<&mut Cgroup>,
    told: &mut Told<'_>,
) -> Result<Launched, StartError> {
    let parent = |operation: &'static str| move |error: io::Error| StartError::of_parent(operation, &error);
    let (child_stdio, stdio) = stdio::prepare(plan.stdio).map_err(parent("make the standard descriptors"))?;
    let (ours, theirs) = seqpacket::pair().map_err(parent("make the status socket"))?;
    let proof = SingleThreaded::verify().map_err(parent("clone"))?;
    let child = Child {
        fds,
        cgroup: cgroup.as_deref(),
        is_placed: plan.cgroup.as_ref().is_some_and(|wanted| wanted.scope.is_some()),
        status: &theirs,
        preserved: plan.preserved,
        label: plan.mount_label.as_deref(),
        stdio: plan.stdio,
        is_mapped: plan.user_namespace.is_some(),
        is_prepared: plan.user_namespace.is_some(),
        root: None,
        kernel: KernelMounts::default(),
        maker: conex_sys::path::Maker::default(),
        is_first: true,
        home: None,
        init: None,
    };
    let (pid, pidfd, ours) = if plan.user_namespace.is_some() {
        let making = Making {
            plan,
            namespaces: flags(&plan.namespaces),
            cgroup: cgroup.as_deref().and_then(Cgroup::clone_into),
        };
        let (pid, pidfd, ours) = mapped::clone(&proof, &making, child, ours, &child_stdio)?;
        mapped::release((pid, &pidfd), stdio.as_ref(), &ours)?;
        (pid, pidfd, ours)
    } else {
        let request = CloneRequest {
            namespaces: flags(&plan.namespaces),
            cgroup: cgroup.as_deref().and_then(Cgroup::clone_into),
            sibling: false,
        };
        match clone_there(&proof, &request, plan.pid_namespace, fds)? {
            Cloned::Child => {
                drop(ours);
                child::run(child, &child_stdio, &plan.steps)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd, ours),
        }
    };
    drop((theirs, child_stdio));
    match follow(&ours, (pid, &pidfd), (plan, cgroup), told) {
        Ok(master) => Ok(Launched {
            pid,
            pidfd,
            stdio: settle(stdio, master)?,
        }),
        Err(error) => {
            end(&pidfd);
            Err(error)
        }
    }
}

/// Clones into the pid namespace that the plan names, if it names one; the caller's later children are made in its own again.
fn clone_there(
    proof: &SingleThreaded,
    request: &CloneRequest<'_>,
    namespace: Option<FdSlot>,
    fds: &[OwnedFd],
) -> Result<Cloned, StartError> {
    let parent = |operation: &'static str| move |error: io::Error| StartError::of_parent(operation, &error);
    let Some(slot) = namespace else {
        return process::clone(proof, request).map_err(parent("clone"));
    };
    let enter = |namespace: BorrowedFd<'_>| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::ProcessID))
            .map_err(io::Error::from)
    };
    let own = File::open("/proc/self/ns/pid").map_err(parent("open the own pid namespace"))?;
    let there = fds
        .get(usize::from(slot.0))
        .ok_or_else(|| parent("find the pid namespace")(io::Error::from(io::ErrorKind::NotFound)))?;
    enter(there.as_fd()).map_err(parent("enter the pid namespace"))?;
    let cloned = process::clone(proof, request);
    if matches!(cloned, Ok(Cloned::Child)) {
        return cloned.map_err(parent("clone"));
    }
    let back = enter(own.as_fd());
    let cloned = cloned.map_err(parent("clone"))?;
    if let (Err(error), Cloned::Parent { pidfd, .. }) = (&back, &cloned) {
        end(pidfd);
        return Err(parent("come back from the pid namespace")(io::Error::from(
            error.kind(),
        )));
    }
    Ok(cloned)
}

/// Listens to the child until it executes; returns the terminal's master where there is one.
fn follow(
    status: &Socket,
    (pid, pidfd): (i32, &OwnedFd),
    (plan, mut cgroup): (&InitPlan, Option<&mut Cgroup>),
    told: &mut Told<'_>,
) -> Result<Option<OwnedFd>, StartError> {
    let mut master = None;
    loop {
        match Report::receive(status).map_err(|error| StartError::of_parent("listen to the process", &error))? {
            None => return Ok(master),
            Some((Report::Unplaced, _)) => {
                place(plan, cgroup.as_deref_mut(), pid)?;
                go_on(status)?;
            }
            Some((Report::Held, _)) => {
                told(pid, Event::Held)?;
                go_on(status)?;
            }
            Some((Report::Listening { descriptor }, _)) => {
                listening(status, (pid, pidfd), descriptor, told)?;
            }
            Some((Report::Terminal | Report::Process { .. }, fd)) => master = fd,
            Some((Report::Failed { step, errno, detail }, _)) => return Err(failed(&plan.steps, step, errno, &detail)),
        }
    }
}

/// Lets a process go on that waits.
fn go_on(status: &Socket) -> Result<(), StartError> {
    let sent = status.send(b"go", &[]);
    sent.map_err(|error| StartError::of_parent("let the process go on", &error))
}

/// Takes a filter's listener from the process, has it brought where it belongs, and lets the process go on.
pub(crate) fn listening(
    status: &Socket,
    (pid, pidfd): (i32, &OwnedFd),
    descriptor: i32,
    told: &mut Told<'_>,
) -> Result<(), StartError> {
    let taken = listener::take(pidfd, descriptor);
    let listener = taken.map_err(|error| StartError::of_parent("take the listener of the seccomp filter", &error))?;
    told(pid, Event::Listening(listener))?;
    go_on(status)
}

/// Words a failure by the step that the child names.
pub(crate) fn failed(steps: &[Step], step: Option<usize>, errno: i32, detail: &str) -> StartError {
    StartError::of_step(step.and_then(|index| steps.get(index)), errno, detail)
}

/// The parent's side, with the terminal that the child made.
pub(crate) fn settle(stdio: Option<ProcessStdio>, master: Option<OwnedFd>) -> Result<ProcessStdio, StartError> {
    match (stdio, master) {
        (Some(stdio), _) => Ok(stdio),
        (None, Some(master)) => Ok(ProcessStdio::Terminal { master }),
        (None, None) => Err(StartError {
            reason: crate::Reason::Other,
            errno: 0,
            message: "the process ended before it had a terminal".into(),
        }),
    }
}

/// Kills and reaps a process that is of no use.
pub(crate) fn end(pidfd: &OwnedFd) {
    // It may have ended by itself; reaping is what matters.
    let _ = process::signal(pidfd.as_fd(), 9);
    let _ = process::wait(pidfd.as_fd());
}

fn flags(namespaces: &[Namespace]) -> u64 {
    namespaces
        .iter()
        .map(|namespace| flag(*namespace))
        .fold(0, |flags, flag| flags | flag)
}

/// `CLONE_NEW*` of a kind (clone(2)).
fn flag(namespace: Namespace) -> u64 {
    match namespace {
        Namespace::Cgroup => 0x0200_0000,
        Namespace::Ipc => 0x0800_0000,
        Namespace::Mount => 0x0002_0000,
        Namespace::Network => 0x4000_0000,
        Namespace::Pid => 0x2000_0000,
        Namespace::Time => 0x80,
        Namespace::User => 0x1000_0000,
        Namespace::Uts => 0x0400_0000,
    }
}

/// A process that ended already has nothing to hold.
fn hold_namespaces(pid: i32) -> Vec<OwnedFd> {
    ["mnt", "net", "ipc"]
        .iter()
        .filter_map(|name| File::open(format!("/proc/{pid}/ns/{name}")).ok().map(OwnedFd::from))
        .collect()
}

/// Drops the unused half of what was prepared; named so that the order in `exec` reads well.
pub(crate) fn close(unused: (Socket, ChildStdio)) {
    drop(unused);
}
