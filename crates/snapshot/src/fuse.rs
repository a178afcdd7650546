//! Overlays that a process makes: `fuse-overlayfs(1)`, one for each mount.
//!
//! ```text
//!   /dev/fuse --fd--> fsopen, fsmount --> a detached mount, which no mount namespace has
//!             \-----> the program's standard input, as /dev/fd/0: it serves the file system and mounts nothing itself
//! ```
//!
//! The process belongs to the mount and not to the daemon: it is in a process group of its own, holds nothing of the
//! daemon's, and ends when the kernel takes the connection away, with the last use of the mount.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use conex_sys::mount::{self, Attributes, Overlay};
use conex_sys::{capability, memfd, words};
use rustix::fs::{MemfdFlags, Mode, OFlags};

/// `CAP_SYS_RESOURCE` (capabilities(7)).
const SYS_RESOURCE: u64 = 1 << 24;

/// Stack of a thread that starts a process or waits for it.
const STACK: usize = 64 << 10;

/// A detached mount that a process of this program serves; it answers when this returns.
pub(crate) fn mount(program: &Path, overlay: &Overlay<'_>) -> io::Result<OwnedFd> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("open /dev/fuse: {}", words(&error)));
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let device = device.map_err(|error| named(error.into()))?;
    let fd = format!("fd={}", device.as_raw_fd());
    let context = overlay.label.map(|label| format!("context={label}"));
    let mut options = vec![
        fd.as_str(),
        "rootmode=40000",
        "user_id=0",
        "group_id=0",
        "allow_other",
        "default_permissions",
        "subtype=fuse-overlayfs",
    ];
    options.extend(context.as_deref());
    let mounted = mount::new_file_system("fuse", "fuse-overlayfs", &options, Attributes::default())
        .map_err(|error| io::Error::new(error.kind(), format!("mount a fuse file system: {}", words(&error))))?;
    // What it says is kept in memory, so that neither a full pipe nor one without a reader is in its way.
    let said = rustix::fs::memfd_create("fuse-overlayfs", MemfdFlags::CLOEXEC)?;
    let mut command = Command::new(program);
    command
        .args(["-f", "-o", &text(overlay), "/dev/fd/0"])
        .stdin(Stdio::from(device))
        .stdout(Stdio::null())
        .stderr(Stdio::from(File::from(said.try_clone()?)))
        .process_group(0);
    let child = spawn_limited(command)
        .map_err(|error| io::Error::new(error.kind(), format!("exec {}: {}", program.display(), words(&error))))?;
    reap(child)?;
    // The first answer; a process that ended without one has closed the connection.
    rustix::fs::fstatfs(&mounted).map_err(|error| {
        let why = memfd::read(said.as_fd()).unwrap_or_default();
        let why = String::from_utf8_lossy(&why).trim().replace('\n', "; ");
        io::Error::new(
            io::Error::from(error).kind(),
            format!("{} does not serve: {why}", program.display()),
        )
    })?;
    Ok(mounted)
}

/// The program's options. Data is written through: what is in the kernel's cache alone would not be there for those who read
/// the writable layer beside the mount.
fn text(overlay: &Overlay<'_>) -> String {
    let lower: Vec<String> = overlay.lower.iter().map(|path| path.display().to_string()).collect();
    let mut options = format!("writeback=0,lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = overlay.upper {
        options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
    }
    if overlay.volatile {
        options.push_str(",volatile");
    }
    options
}

/// Starts the process without the right to go beyond quotas and into reserved space, which it would do for the container;
/// overlayfs gives it up as well. A thread of its own has it no more, and with it what that starts. The command goes with its
/// copy of `/dev/fuse`, which would keep the connection of a server that has ended.
fn spawn_limited(mut command: Command) -> io::Result<Child> {
    thread::scope(|scope| {
        let starter = thread::Builder::new().stack_size(STACK);
        let starter = starter.spawn_scoped(scope, move || {
            capability::limit_bounding(!SYS_RESOURCE)?;
            command.spawn()
        })?;
        starter
            .join()
            .map_err(|_| io::Error::other("the thread that starts it panicked"))?
    })
}

/// Waits for the process on a thread of its own; where the daemon goes first, init does.
fn reap(mut child: Child) -> io::Result<()> {
    let waiter = thread::Builder::new().name("fuse".to_owned()).stack_size(STACK);
    waiter.spawn(move || {
        if let Err(error) = child.wait() {
            tracing::warn!(%error, "wait for fuse-overlayfs");
        }
    })?;
    Ok(())
}
