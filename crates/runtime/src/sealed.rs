//! The program that makes containers, where nobody can write to it.
//!
//! A container may have the program that starts it executed in its midst (`#!/proc/self/exe`), or may look at the process that
//! is about to become one of its own. By that process's link to its program the host's file could be opened, and written to as
//! soon as nobody executes it. So it is executed from a read-only mount that is in no namespace by then: what was opened there
//! cannot be opened for writing, and nobody reaches the mount to change it. It is a view of the file that costs no copy, which
//! takes several milliseconds; a sealed copy in memory takes its place where the kernel does not make one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use conex_sys::guard::Guard;
use conex_sys::memfd;
use conex_sys::mount::{self, Attributes};
use conex_sys::process::{self, ExecStrings};
use rustix::fs::StatVfsMountFlags;

const PROGRAM: &str = "/proc/self/exe";

/// Goes on where the program cannot be written to, and nobody in a container may look into the process.
pub(crate) fn settle() -> Result<()> {
    if Guard::SealedProgram.holds() {
        seal().context("keep the program from being written to")?;
        // A program that is executed by its descriptor is called by that's number.
        rustix::thread::set_name(c"conex-runtime").context("name this process")?;
    }
    if Guard::Dumpable.holds() {
        process::set_dumpable(false).context("keep others from looking into this process")?;
    }
    Ok(())
}

/// Executes the program anew, unless that was done.
fn seal() -> io::Result<()> {
    let program = File::open(PROGRAM)?;
    let sealed = match mount::clone_tree(program.as_fd(), false) {
        Ok(view) => mount::set_attributes(view.as_fd(), Attributes::READ_ONLY, None, false).map(|()| view),
        // Of a mount that is in no namespace there are no copies.
        Err(_) if is_read_only(&program)? || memfd::is_sealed(program.as_fd()) => return Ok(()),
        Err(error) => Err(error),
    };
    let sealed = sealed.or_else(|_| memfd::sealed("conex-runtime", &fs::read(PROGRAM)?))?;
    execute(&sealed)
}

fn is_read_only(program: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstatvfs(program)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY))
}

fn execute(program: &OwnedFd) -> io::Result<()> {
    let arguments = ExecStrings::of_os(std::env::args_os().collect())?;
    let environment = std::env::vars_os().map(|(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    });
    let environment = ExecStrings::of_os(environment.collect())?;
    Err(process::execute_fd(program.as_fd(), &arguments, &environment))
}
