//! The kernel, with safe types: what `rustix` lacks, and what several of our programs do the same way.
//!
//! This is the only crate with `unsafe`. Each module is one subject of the kernel's manual; nothing here decides.

pub mod bpf;
pub mod btrfs;
pub mod capability;
pub mod chroot;
pub mod descriptor;
pub mod failpoint;
pub mod guard;
pub mod init;
pub mod loop_device;
pub mod memfd;
pub mod mount;
pub mod mountns;
pub mod netns;
pub mod path;
pub mod process;
pub mod procfs;
pub mod program;
pub mod pty;
pub mod quota;
pub mod scheduling;
pub mod seccomp;
pub mod selinux;
pub mod seqpacket;
pub mod signal;
pub mod tree;
pub mod userns;

/// An error's text as clients know it: in lower case and without Rust's suffix.
#[must_use]
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
