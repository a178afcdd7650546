//! The container's log.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use conex_log::{Rest, Rotation, Writer};
use conex_protocol::message::LogOrder;

/// The argument by which this program compresses a file of a log.
pub(crate) const PACK: &str = "pack-log";

/// A log, and how it was ordered.
pub(crate) struct Log {
    pub(crate) order: LogOrder,
    pub(crate) writer: Writer,
}

impl Log {
    /// Opens the log that was ordered.
    pub(crate) fn open(order: LogOrder) -> io::Result<Self> {
        let writer = Writer::open(Path::new(&order.file), rotation(&order), order.attributes.clone())?;
        Ok(Self { order, writer })
    }

    /// Whether the container waits for the log's reader. Where that cannot be told it does not: it would for ever.
    pub(crate) fn is_held_up(&self) -> bool {
        self.writer.is_held_up().unwrap_or(false)
    }

    /// Goes on with one that the program before had open.
    pub(crate) fn resume(order: LogOrder, rest: Rest) -> io::Result<Self> {
        let path = Path::new(&order.file);
        let writer = Writer::resume(path, rotation(&order), order.attributes.clone(), rest)?;
        Ok(Self { order, writer })
    }
}

fn rotation(order: &LogOrder) -> Rotation {
    Rotation {
        max_size: order.max_size,
        max_files: order.max_files,
        packer: order.compress.then_some(pack),
        awaited: order.awaited.as_ref().map(PathBuf::from),
    }
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
