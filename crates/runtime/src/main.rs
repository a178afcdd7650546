//! `conex-runtime`: the OCI runtime command line, in runc's place.
//!
//! ```text
//!   create --bundle B ID         start ID              delete ID
//!     plan from config.json        byte into the fifo    cgroup and state removed
//!     conex_launch::start            |
//!       child: steps ...             v
//!       AwaitStart: blocked in read(fifo) -> execve
//!     pid file, state, exit
//! ```
//!
//! State of a container stands in `<root>/<id>`: `state.json` (published by rename), `config.json` (a copy of the bundle's,
//! for `exec`), and `start.fifo` for as long as the container was not started. What is running is asked of the kernel each
//! time: pid and start time identify the first process. The fifo is open for reading and writing in the process that waits,
//! so it keeps waiting when `create` ends, and `start` finds out by `ENXIO` that it is gone.

mod arguments;
mod bundle;
mod commands;
mod console;
mod container;
mod descriptors;
mod foreground;
mod hooks;
mod host;
mod launching;
mod report;
mod resctrl;
mod rootless;
mod sealed;
mod seccomp_agent;
mod signals;
mod sub_cgroups;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (global, command, rest) = match arguments::Global::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            report::fail(&arguments::Global::default(), &error);
            return ExitCode::FAILURE;
        }
    };
    match commands::run(&global, &command, &rest) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report::fail(&global, &error);
            // runc's exec tells its own failure from that of the process by this code.
            if command == "exec" {
                ExitCode::from(255)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
