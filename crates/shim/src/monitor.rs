//! A monitor: one container's parent. It holds its standard descriptors, writes its log, serves clients, reaps it,
//! and records its exit.
//!
//! ```text
//!   daemon channel, control.sock --+                       +--> log file
//!   first process: pidfd, pipes ---+--> one event loop ----+--> clients (raw or multiplexed)
//!   execs: pidfds, pipes, ptys ----+                       +--> exit.json, then Exited
//!   clients -----------------------+--> standard input
//! ```

mod clients;
mod control;
mod detach;
mod events;
mod execs;
mod finish;
mod log;
mod memory;
mod output;
mod process;
mod resume;
mod run_dir;
mod start;
mod state;
mod time;
mod upgrade;

pub(crate) use log::PACK;
pub(crate) use upgrade::{TAKE_OVER, TRY};

use std::io;
use std::os::fd::OwnedFd;

use conex_sys::failpoint;
use conex_sys::process::exit;
use conex_sys::seqpacket::Socket;

use crate::monitor::run_dir::RunDir;

/// The life of a monitor with the descriptors of its fork: order, channel, directory, and those of the plan. `build` says
/// which program it runs. Never returns.
pub(crate) fn run(fds: Vec<OwnedFd>, build: String) -> ! {
    let mut fds = fds.into_iter();
    let (Some(order), Some(channel), Some(directory)) = (fds.next(), fds.next(), fds.next()) else {
        exit(1)
    };
    match start::start(
        order,
        Socket::from(channel),
        RunDir::new(directory),
        fds.collect(),
        build,
    ) {
        Ok(mut monitor) => {
            let code = i32::from(monitor.serve().is_err());
            exit(code)
        }
        // Whoever waits has been told, or sees the channel end.
        Err(_) => exit(1),
    }
}

/// The rest of the life of a monitor that another program was until now; `handover` is the number of a descriptor.
pub(crate) fn take_over(handover: &str, build: String) -> io::Result<()> {
    let (mut monitor, request) = resume::resume(handover, build)?;
    monitor.go_on(request)?;
    monitor.serve()
}

/// Sees whether this program could take over, and leaves everything as it is.
pub(crate) fn try_to_take_over(handover: &str, build: String) -> io::Result<()> {
    failpoint::hit("monitor.in-trial");
    resume::resume(handover, build).map(drop)
}
