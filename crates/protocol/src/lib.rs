//! The protocol of daemon, template and monitor.
//!
//! One message is one datagram of JSON on a `SOCK_SEQPACKET` socket (unix(7)); descriptors travel beside it.
//!
//! ```text
//!   daemon                                template
//!   ------------------------------------  ------------------------------------------------------------
//!   Hello{version}                     -> Hello{version, pid, build} + program
//!   Fork{request}                      -> forks a monitor
//!     + order, channel, directory, …    <- Forked{request, pid} + pidfd, or ForkFailed{request, message}
//!
//!   daemon                                monitor
//!   ------------------------------------  ------------------------------------------------------------
//!   Attach (in the channel already)    -> takes the clients before it starts anything
//!                                      <- Held{pid}           only where the plan holds the process
//!   Go                                 ->
//!                                      <- Started{pid} or StartFailed(failure), then the end of the channel
//!   Signal, Resize, Attach, Sync       -> Done{request} or Refused{request}
//!   Exec{request} + plan, client, fds  -> ExecStarted{request} or ExecFailed{request}
//!                                      <- ExecExited{exec, code}, Detached{exec}
//!   ForgetExec{exec}                   ->
//!   Upgrade{request} + program         -> executes it; the program that takes over answers Done{request}
//!                                      <- Exited(record)      exit.json is on disk
//!                                      <- the end             cgroup, socket and record are gone, too
//!
//!   a later daemon, on control.sock       monitor
//!   ------------------------------------  ------------------------------------------------------------
//!   Hello{version}                     -> Hello{pid, started_at, execs, build}; from here on as above
//! ```
//!
//! Each side is a pure state machine: `template::Template`, `monitor::Monitor`, `daemon::Run`. The programs feed them
//! and carry out what they decide; `tests/model.rs` runs the three against each other in any order of messages and
//! deaths.
//!
//! A channel that ends without `Exited` or `StartFailed` means that the monitor died. A template that dies leaves open
//! whether a fork took place; the channel tells.

pub mod daemon;
pub mod fail_points;
pub mod handover;
pub mod message;
pub mod monitor;
pub mod template;
mod wire;

pub use crate::wire::{WireError, decode, encode};
