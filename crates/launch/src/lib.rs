//! The interpreter of plans: makes a container's first process, and later ones, by `clone3` and a list of steps.
//!
//! ```text
//!   start(InitPlan)                                exec(ExecPlan, pidfd of the first process)
//!     cgroup made and limited (without systemd)      intermediate: joins cgroups, then namespaces by pidfd
//!     clone3 -> child: step, step, ..., execve         clone3(CLONE_PARENT) -> child: step, ..., execve
//!     status pipe: end of file = executes; else {step, errno, detail}
//! ```
//!
//! `conex-shim` and `conex-runtime` share it. It knows nothing of the daemon's protocol.

mod account;
mod attributes;
mod child;
mod copy_up;
mod error;
mod exec;
mod hook;
mod kernel;
mod labels;
mod listener;
mod mapped;
mod mounts;
mod start;
mod status;
mod stdio;

pub use crate::error::{Reason, StartError};
pub use crate::exec::{Execed, exec};
pub use crate::hook::run_hook;
pub use crate::start::{Event, Started, start, warm};
pub use crate::stdio::ProcessStdio;
