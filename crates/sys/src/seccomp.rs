//! Installing a seccomp filter (seccomp(2)).

use std::io;

use rustix::process::{Pid, WaitOptions};

/// `PTRACE_SECCOMP_GET_FILTER` (ptrace(2)).
const GET_FILTER: libc::c_long = 0x420c;

/// Size of the kernel's `struct sock_filter`.
const INSTRUCTION: usize = 8;

/// Installs a filter, given as the bytes of an array of `struct sock_filter`, on the calling thread.
pub fn install(program: &[u8], flags: u32) -> io::Result<()> {
    if program.is_empty() || !program.len().is_multiple_of(INSTRUCTION) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut filter: Vec<libc::sock_filter> = program
        .chunks_exact(INSTRUCTION)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `length` instructions that live across the call; the kernel only reads and checks them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    // With a listener it is the listener's number.
    if result >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Filters of another process, the last that was installed first, each as `install` takes it. The process stands still
/// meanwhile. Needs `CAP_SYS_ADMIN`, and a kernel with checkpoint and restore.
pub fn of_process(pid: i32) -> io::Result<Vec<Vec<u8>>> {
    ask(libc::PTRACE_SEIZE.into(), pid, 0, &mut [])?;
    let filters = stop(pid).and_then(|()| read_all(pid));
    // Where it has ended meanwhile there is nothing to let go.
    let _ = ask(libc::PTRACE_DETACH.into(), pid, 0, &mut []);
    filters
}

fn stop(pid: i32) -> io::Result<()> {
    ask(libc::PTRACE_INTERRUPT.into(), pid, 0, &mut [])?;
    rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())?;
    Ok(())
}

fn read_all(pid: i32) -> io::Result<Vec<Vec<u8>>> {
    let mut filters = Vec::new();
    loop {
        let length = match ask(GET_FILTER, pid, filters.len(), &mut []) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(filters),
            length => length?,
        };
        let mut program = vec![0; length * INSTRUCTION];
        ask(GET_FILTER, pid, filters.len(), &mut program)?;
        filters.push(program);
    }
}

/// One ptrace(2). Of these requests only `PTRACE_SECCOMP_GET_FILTER` writes, and only where the buffer is not empty.
fn ask(request: libc::c_long, pid: i32, address: usize, buffer: &mut [u8]) -> io::Result<usize> {
    let data = if buffer.is_empty() {
        std::ptr::null_mut()
    } else {
        buffer.as_mut_ptr()
    };
    // SAFETY: the kernel writes a filter to `data`, whose length it told before; the process stands still in between. The
    // other requests take no memory.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, pid, address, data) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
