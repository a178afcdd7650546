//! The kernel, with safe types: what `rustix` lacks, and what several of our programs do the same way.
//!
//! This is the only crate with `unsafe`. Each module is one subject of the kernel's manual; nothing here decides.

pub mod bpf;
pub mod capability;
pub mod chroot;
pub mod descriptor;
pub mod failpoint;
pub mod memfd;
pub mod mount;
pub mod mountns;
pub mod netns;
pub mod path;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod seqpacket;
pub mod signal;
