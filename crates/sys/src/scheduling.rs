//! How the kernel schedules a process, and where its memory lies (sched_setattr(2), ioprio_set(2), set_mempolicy(2),
//! personality(2), time_namespaces(7)).

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{CpuSet, LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The kernel's `struct sched_attr`, in its first size: without clamps of utilisation.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn check(result: i64) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets how the calling thread is scheduled: `SCHED_*` and `SCHED_FLAG_*`, the nice value and the priority of real-time
/// policies, and runtime, deadline and period of `SCHED_DEADLINE` in nanoseconds.
pub fn set_scheduler((policy, flags): (u32, u64), (nice, priority): (i32, u32), times: [u64; 3]) -> io::Result<()> {
    let [runtime, deadline, period] = times;
    let attributes = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).unwrap_or_default(),
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
    };
    // SAFETY: the structure says its size and lives across the call; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Sets class and level of the calling thread's block I/O: the class in the upper three bits of sixteen.
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: integers only; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, i32::from(priority)) })
}

/// Keeps the calling thread on these CPUs (sched_setaffinity(2)).
pub fn set_affinity(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        let cpu = usize::try_from(*cpu).map_err(io::Error::other)?;
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Sets the execution domain (personality(2)).
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: an integer only.
    match unsafe { libc::personality(libc::c_ulong::from(domain)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sets the policy by which memory is taken from nodes; `mode` with its flags, `nodes` by number.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    const BITS: u32 = u64::BITS;
    let words = nodes.iter().max().map_or(0, |highest| highest / BITS + 1);
    let mut mask = vec![0_u64; usize::try_from(words).map_err(io::Error::other)?];
    for node in nodes {
        if let Some(word) = usize::try_from(node / BITS).ok().and_then(|index| mask.get_mut(index)) {
            *word |= 1 << (node % BITS);
        }
    }
    let (address, length) = match mask.as_slice() {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told of.
        words => (words.as_ptr(), words.len() * 64 + 1),
    };
    // SAFETY: the mask has as many bits as are told and lives across the call.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, address, length) })
}

/// A distance in seconds and nanoseconds.
pub type Offset = (i64, u32);

/// Enters a new time namespace, whose clocks are moved by this much. The caller has one thread.
///
/// # Errors
/// The kernel has no time namespaces (`EINVAL`), refuses the offsets (`ERANGE`) or the caller (`EPERM`, `EUSERS`).
pub fn unshare_time(monotonic: Offset, boot: Offset) -> io::Result<()> {
    // SAFETY: nothing changes for this process but what it clones later.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWTIME) }?;
    let line = |clock: &str, (seconds, nanoseconds): Offset| format!("{clock} {seconds} {nanoseconds}\n");
    let offsets = line("monotonic", monotonic) + &line("boottime", boot);
    fs::write("/proc/self/timens_offsets", offsets)?;
    // Executing a program enters it as well, but only since Linux 6.3.
    let namespace = fs::File::open("/proc/self/ns/time_for_children")?;
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Time),
    )?)
}
