//! The container's log.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use conex_log::{Rotation, Writer};
use conex_protocol::message::LogOrder;

/// The argument by which this program compresses a file of a log.
pub(crate) const PACK: &str = "pack-log";

/// Opens the log that was ordered.
pub(crate) fn open(order: LogOrder) -> io::Result<Writer> {
    let rotation = Rotation {
        max_size: order.max_size,
        max_files: order.max_files,
        packer: order.compress.then_some(pack),
    };
    Writer::open(Path::new(&order.file), rotation, order.attributes)
}

/// Compresses a file in a process of its own, so that the container's output does not wait for it. It is reaped with the
/// container's.
fn pack(path: &Path) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg(PACK)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
