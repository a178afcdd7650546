//! Filters of system calls: Docker's default policy, its JSON format for other ones, and their compilation to BPF.
//!
//! ```text
//!   default_profile(capabilities) --+
//!   Profile::parse(json) --for_container--> Profile --compile(architecture)--> [struct sock_filter]
//!
//!   load architecture ----- native ----> tree over numbers --> return | compare arguments, return
//!                     +---- 32-bit ----> tree over its own numbers (i386 on x86_64, ARM on aarch64)
//!                     +---- other -----> kill the process
//! ```
//!
//! The numbers of an architecture are cut into ranges with the same verdict, and a balanced tree of comparisons over the
//! ranges' starts finds the verdict in log2(ranges) steps; a list would take one step per system call of the policy.
//!
//! Two decisions are ours:
//! * 32-bit programs of the same processor family are filtered by tables of their own, as under Docker. x32 is answered with
//!   `ENOSYS`, which is what kernels say that are built without it, as nearly all are.
//! * A number above all that the profile names is answered with `ENOSYS` instead of the default error, so that programs
//!   fall back to older system calls as on an older kernel; runc does the same.

mod assembly;
mod compile;
mod default_profile;
mod parse;
mod profile;
mod projects;
mod table;
mod tree;
mod verdict;

pub use compile::compile;
pub use default_profile::default_profile;
pub use parse::{Vocabulary, vocabulary};
pub use profile::{Action, Architectures, Comparison, Condition, Listener, Operator, Profile, Rule};
pub use table::Abi;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (seccomp(2)).
pub const NEW_LISTENER: u32 = 8;

use crate::error::Result;
use crate::facts::HostFacts;
use crate::security::SeccompChoice;

/// The filter of a container with these capabilities: an array of `struct sock_filter`, or `None` where nothing is filtered.
pub fn program(choice: &SeccompChoice, capabilities: u64, facts: &HostFacts) -> Result<Option<Vec<u8>>> {
    let profile = profile(choice, capabilities, facts);
    profile.map(|profile| compile(&profile, facts.architecture)).transpose()
}

/// As `program`, of a container whose files are to stay in their project.
pub fn program_within_project(choice: &SeccompChoice, capabilities: u64, facts: &HostFacts) -> Result<Option<Vec<u8>>> {
    let profile = profile(choice, capabilities, facts).map(Profile::within_project);
    profile.map(|profile| compile(&profile, facts.architecture)).transpose()
}

fn profile(choice: &SeccompChoice, capabilities: u64, facts: &HostFacts) -> Option<Profile> {
    if !facts.seccomp {
        return None;
    }
    match choice {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Default => Some(default_profile(capabilities)),
        SeccompChoice::Profile(profile) => Some(profile.for_container(capabilities, facts.kernel, facts.architecture)),
    }
}
