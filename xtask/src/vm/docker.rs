//! Docker's own engine on a machine's disk.

use std::path::Path;

use super::disk::installed;
use super::files::{copy, entries, name};
use crate::run::Outcome;
use crate::{reference, unstable};

/// Its programs, below the directory that it is unpacked in.
const PROGRAMS: [&str; 4] = [
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
];

/// The runtime of the same suite, and the libraries that it was built with.
const RUNTIME: [&str; 3] = ["runc", "libc6", "libseccomp2"];

/// What programs name as their interpreter.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Puts the engine where it lies on this machine, and its runtime among the programs of the other; returns the commands that
/// make it ready.
pub(super) fn docker(tree: &Path) -> Outcome<String> {
    let engine = reference::fetch()?;
    for program in PROGRAMS {
        installed(tree, &engine.join(program))?;
    }
    let runtime = unstable::fetch("reference-runtime", &RUNTIME)?;
    copy(&runtime.join("usr/sbin/runc"), &tree.join("usr/sbin/runc"))?;
    replace_libraries(tree, &runtime)?;
    let place = engine.canonicalize();
    let place = place.map_err(|error| format!("{}: {error}", engine.display()))?;
    // In the root of the hierarchy, which has no file of swap, dockerd takes the kernel for one that does not limit it.
    // Daemons that are emulated take their time. Where the host does not forward, dockerd says so in every answer.
    Ok(format!(
        "export CONEX_TEST_REFERENCE={} CONEX_TEST_PATIENCE=300\n\
         echo 1 > /proc/sys/net/ipv4/ip_forward\n\
         echo '+cpu +cpuset +io +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control\n\
         mkdir /sys/fs/cgroup/engines\n\
         echo $$ > /sys/fs/cgroup/engines/cgroup.procs\n",
        place.display()
    ))
}

/// Puts newer libraries of C in the place of this machine's: programs that were linked to older ones run with them, and none the
/// other way round.
fn replace_libraries(tree: &Path, newer: &Path) -> Outcome {
    // The machine is an x86_64 one.
    let libraries = newer.join("usr/lib/x86_64-linux-gnu");
    for library in entries(&libraries)?.iter().filter(|path| path.is_file()) {
        copy(library, &tree.join("lib/x86_64-linux-gnu").join(name(library)))?;
    }
    copy(&libraries.join(LOADER), &tree.join("lib64").join(LOADER))
}
