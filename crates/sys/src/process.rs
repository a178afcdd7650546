//! Processes: made by `clone3`, watched by pidfd, waited for once.

use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// Proof that this process has one thread; only such a process may be cloned and go on in Rust.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the links of `/proc/self/task`, which has one for each thread beside its own two, as every directory has.
    pub fn verify() -> io::Result<Self> {
        let threads = fs::metadata("/proc/self/task")?.nlink().saturating_sub(2);
        if threads == 1 {
            return Ok(Self(()));
        }
        Err(io::Error::other(format!(
            "a process with {threads} threads cannot be cloned"
        )))
    }
}

/// Namespaces and placement of a new process (clone(2), `CLONE_*`).
#[derive(Debug, Default)]
pub struct CloneRequest<'a> {
    /// `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// Directory of a v2 cgroup that the child is born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The child becomes a sibling: the caller's parent reaps it (`CLONE_PARENT`).
    pub sibling: bool,
}

/// On which side of a clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, with the child.
    Parent {
        /// The child's pid in the caller's pid namespace.
        pid: i32,
        /// The child's pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
    /// The child. It runs on a copy of the caller's stack and must end by `exit` or an exec.
    Child,
}

/// `CLONE_INTO_CGROUP` (clone(2)); the constant of the `libc` crate is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args` (clone(2)).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a process that is a copy of this one, as fork(2) does, in new namespaces.
pub fn clone(_proof: &SingleThreaded, request: &CloneRequest<'_>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: request.namespaces | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        // A sibling takes the exit signal over from the caller; clone3 refuses another one.
        exit_signal: if request.sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if request.sibling {
        args.flags |= libc::CLONE_PARENT as u64;
    }
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: `args` is a clone_args of the size that is passed, and lives across the call; `pidfd` is a place for one int.
    // No stack is given, so the child continues here on a copy of this one; `SingleThreaded` rules out that another
    // thread holds a lock (malloc's, for example) that the child would wait for.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just stored a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent {
                pid: i32::try_from(pid).map_err(io::Error::other)?,
                pidfd,
            })
        }
    }
}

/// Ends the process at once, without destructors (_exit(2)).
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit takes an integer, touches no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// Strings of an exec, prepared so that nothing is allocated afterwards.
#[derive(Debug)]
pub struct ExecStrings(Vec<CString>);

impl ExecStrings {
    /// Refuses strings with a NUL byte.
    pub fn new(strings: &[String]) -> io::Result<Self> {
        let owned = strings
            .iter()
            .map(|text| CString::new(text.as_bytes()))
            .collect::<Result<_, _>>()?;
        Ok(Self(owned))
    }

    /// As `new`, of what need not be UTF-8.
    pub fn of_os(strings: Vec<OsString>) -> io::Result<Self> {
        let owned = strings.into_iter().map(|text| CString::new(text.into_vec()));
        Ok(Self(owned.collect::<Result<_, _>>()?))
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.0
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    }
}

/// Replaces the program (execve(2)); returns only its error.
pub fn execute(path: &CStr, argv: &ExecStrings, env: &ExecStrings) -> io::Error {
    let (argv, env) = (argv.pointers(), env.pointers());
    // SAFETY: both arrays end with a null pointer, and every string ends with NUL and outlives the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program by that behind a descriptor (execveat(2) with `AT_EMPTY_PATH`); returns only its error.
pub fn execute_fd(fd: BorrowedFd<'_>, argv: &ExecStrings, env: &ExecStrings) -> io::Error {
    let (argv, env) = (argv.pointers(), env.pointers());
    // SAFETY: as for `execute`; the path is the empty C string and the descriptor is open.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// A pidfd of a process (pidfd_open(2)).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty())?)
}

/// Sends a signal (pidfd_send_signal(2)).
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: pidfd_send_signal takes a descriptor, an integer, no siginfo and no flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal by pid; only for processes that cannot have been reaped.
pub fn kill(pid: i32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process(to_pid(pid)?, signal)?)
}

/// Sends a signal to the process group of a leader that cannot have been reaped.
pub fn kill_group(leader: i32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(to_pid(leader)?, signal)?)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By exit(2) with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Status {
    /// The code as shells and Docker count it: 128 + n after signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Reaps a child and tells how it ended; waits until it has.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<Status> {
    loop {
        if let Some(status) = wait_with(pidfd, WaitIdOptions::EXITED)? {
            return Ok(status);
        }
    }
}

/// Reaps a child that has ended; `None` while it runs.
pub fn try_wait(pidfd: BorrowedFd<'_>) -> io::Result<Option<Status>> {
    wait_with(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

fn wait_with(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> io::Result<Option<Status>> {
    let status = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options))?;
    Ok(status.and_then(|status| {
        status
            .exit_status()
            .map(Status::Exited)
            .or_else(|| status.terminating_signal().map(Status::Signaled))
    }))
}

/// Reaps any child that has ended and tells how; `None` when there is none.
pub fn reap_any() -> io::Result<Option<(i32, Status)>> {
    match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
        Ok(reaped) => Ok(reaped.map(|(pid, status)| {
            let signaled = status.terminating_signal().map(Status::Signaled);
            let ended = signaled.unwrap_or(Status::Exited(status.exit_status().unwrap_or(0)));
            (pid.as_raw_nonzero().get(), ended)
        })),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a child has not ended yet; it is not reaped by this. One that is nobody's child any more has ended.
pub fn is_running_child(pid: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let looked = to_pid(pid).map(|pid| rustix::process::waitid(WaitId::Pid(pid), options));
    matches!(looked, Ok(Ok(None)))
}

/// Orphans among the descendants become our children (`PR_SET_CHILD_SUBREAPER`).
pub fn become_subreaper() -> io::Result<()> {
    // Any non-zero value switches it on; the binding asks for a pid.
    rustix::process::set_child_subreaper(Some(Pid::INIT))?;
    Ok(())
}

/// Sets whether `/proc/<pid>` belongs to root and no core is written (`PR_SET_DUMPABLE`).
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    use rustix::process::DumpableBehavior::{Dumpable, NotDumpable};
    rustix::process::set_dumpable_behavior(if dumpable { Dumpable } else { NotDumpable })?;
    Ok(())
}

/// The process is killed when its parent thread ends (`PR_SET_PDEATHSIG`).
pub fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Unshares the cgroup namespace (`CLONE_NEWCGROUP`, cgroup_namespaces(7)).
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: the cgroup namespace changes only what paths of cgroups look like to the caller.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }?;
    Ok(())
}

/// Unshares the mount namespace (`CLONE_NEWNS`, mount_namespaces(7)), of a process of one thread.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: no descriptor is closed or changed by it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Joins a new session keyring of this name (`KEYCTL_JOIN_SESSION_KEYRING`, keyctl(2)).
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends with NUL and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Enters namespaces of a process, those that the `CLONE_NEW*` bits name (setns(2) with a pidfd).
pub fn enter_namespaces(pidfd: BorrowedFd<'_>, namespaces: i32) -> io::Result<()> {
    // SAFETY: setns takes a descriptor and an integer; the caller is single-threaded where it enters a mount namespace,
    // which the kernel checks itself.
    let result = unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Time of the processors that children took who were reaped, and theirs (`RUSAGE_CHILDREN`, getrusage(2)).
pub fn time_of_children() -> io::Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes one `rusage` there.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was written, because the call succeeded.
    let usage = unsafe { usage.assume_init() };
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs())
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

/// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
pub fn start_time(pid: i32) -> io::Result<u64> {
    let stat = read_small(&format!("/proc/{pid}/stat"))?;
    // The name in parentheses may contain anything, so fields are counted from behind its end.
    let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    after_name
        .and_then(|rest| rest.split(' ').nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has no start time"),
            )
        })
}

/// Identifies the boot of the host (random(4)).
pub fn boot_id() -> io::Result<String> {
    Ok(read_small("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A file of proc(5) that is shorter than a page and comes in one read.
fn read_small(path: &str) -> io::Result<String> {
    let mut bytes = vec![0; 4096];
    let length = fs::File::open(path)?.read(&mut bytes)?;
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn to_pid(pid: i32) -> io::Result<Pid> {
    Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_of_this_process_is_read() {
        assert!(start_time(i32::try_from(std::process::id()).unwrap()).unwrap() > 0);
        assert!(start_time(-1).is_err());
    }

    #[test]
    fn a_process_with_threads_is_not_cloned() {
        // The test harness runs each test on a thread of its own.
        let busy = std::thread::spawn(std::thread::park);
        assert!(SingleThreaded::verify().is_err());
        busy.thread().unpark();
        busy.join().unwrap();
    }

    #[test]
    fn codes_after_signals_are_counted_from_128() {
        assert_eq!(Status::Signaled(9).code(), 137);
        assert_eq!(Status::Exited(3).code(), 3);
    }
}
