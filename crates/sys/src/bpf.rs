//! Device programs of v2 cgroups (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// How many programs a cgroup can have of one type (`BPF_CGROUP_MAX_PROGS`).
const MOST_PROGRAMS: usize = 64;

/// The head of the kernel's `union bpf_attr` for a command.
///
/// # Safety
/// Every pointer in it is valid for what the command does with it.
unsafe trait Attribute {}

/// For `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// For `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// For `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct FdById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

// SAFETY: made in `load` only, with pointers to what outlives the call.
unsafe impl Attribute for Load {}
// SAFETY: it has no pointers.
unsafe impl Attribute for Attach {}
// SAFETY: made in `attached` only, with a pointer to as many numbers as it says, which outlive the call.
unsafe impl Attribute for Query {}
// SAFETY: it has no pointers.
unsafe impl Attribute for FdById {}

fn call<A: Attribute>(command: libc::c_int, attribute: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: the attribute has the size that is passed, and its pointers are valid.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a device program of 8-byte instructions and attaches it to a cgroup directory, beside those that are there.
///
/// # Errors
/// The kernel's refusal.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    let program = load(instructions)?;
    change(BPF_PROG_ATTACH, cgroup, program.as_fd(), BPF_F_ALLOW_MULTI)
}

/// The same in the place of those that are there. What all of them allow stays allowed all the time, and nothing more is.
///
/// # Errors
/// The kernel's refusal; the earlier programs are there still.
pub fn replace_device_programs(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    let earlier = attached(cgroup)?;
    attach_device_program(cgroup, instructions)?;
    for program in earlier {
        change(BPF_PROG_DETACH, cgroup, program.as_fd(), 0)?;
    }
    Ok(())
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attribute = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        ..Load::default()
    };
    owned(call(BPF_PROG_LOAD, &mut attribute)?)
}

fn change(command: libc::c_int, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let mut attribute = Attach {
        target_fd: cgroup.as_raw_fd().unsigned_abs(),
        attach_bpf_fd: program.as_raw_fd().unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: flags,
    };
    call(command, &mut attribute).map(drop)
}

/// The device programs of a cgroup directory.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attribute = Query {
        target_fd: cgroup.as_raw_fd().unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).map_err(io::Error::other)?,
        padding: 0,
    };
    call(BPF_PROG_QUERY, &mut attribute)?;
    let count = usize::try_from(attribute.prog_cnt).map_err(io::Error::other)?;
    let open = |id: &u32| {
        let mut attribute = FdById {
            prog_id: *id,
            next_id: 0,
            open_flags: 0,
        };
        owned(call(BPF_PROG_GET_FD_BY_ID, &mut attribute)?)
    };
    ids.iter().take(count).map(open).collect()
}
