//! SELinux's labels for the files of new file systems.

use std::io;
use std::os::fd::BorrowedFd;

use conex_sys::selinux;
use rustix::io::Errno;

/// The option that all files of a file system have a label by (mount(8), "context=").
pub(crate) fn context(label: &str) -> String {
    format!("context={label}")
}

/// Whether the files of a new file system get the container's label: the kernel's own have labels by the policy, and
/// `mqueue` was mounted once when the namespace was made, from when on its options cannot be others.
pub(crate) fn are_an_option(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | QUEUES)
}

/// POSIX message queues (mq_overview(7)).
pub(crate) const QUEUES: &str = "mqueue";

/// Labels the root of `mqueue`; a policy may have no labels for it.
pub(crate) fn give_queues(queues: BorrowedFd<'_>, label: &str) -> io::Result<()> {
    match selinux::set_label(queues, label) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(()),
        set => set,
    }
}
