//! The root tests inside another kernel: Debian's 6.1 with the unified hierarchy of cgroup v2, under qemu.
//!
//! ```text
//!   kernel package --> vmlinuz, modules          (downloaded and unpacked, never installed)
//!   base (busybox, or Debian with systemd), test programs, target/dist,
//!   docker, ip, nft, ... with their libraries --> an ext4 disk
//!   busybox, virtio modules --> initramfs: finds the disk and switches to it
//!   the disk's /sbin/init: mounts, or is systemd and starts a unit
//!   /tests/run: runs the tests one after the other, says how they went, powers off
//! ```
//!
//! There are several machines, each with its own list of tests: `flavours`.

mod base;
mod disk;
mod docker;
mod files;
mod flavours;
mod machine;
mod selinux;

use flavours::{FLAVOURS, Flavour};

use crate::packages;
use crate::run::{Outcome, root};

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All root tests.
    All,
    /// The few that show the other kernel's ways: limits, devices, the bridge, a crash.
    Small,
}

/// Boots the machines of these names, all where there is none, and runs their tests.
pub(crate) fn vm(arguments: &[String]) -> Outcome {
    let mut extent = Extent::All;
    let mut chosen = Vec::new();
    for argument in arguments {
        match FLAVOURS.iter().find(|flavour| flavour.name == argument) {
            Some(flavour) => chosen.push(flavour),
            None if argument == "--small" => extent = Extent::Small,
            None => {
                let known: Vec<&str> = FLAVOURS.iter().map(|flavour| flavour.name).collect();
                return Err(format!(
                    "no machine is called {argument}; there are: {}",
                    known.join(", ")
                ));
            }
        }
    }
    if chosen.is_empty() {
        chosen.extend(&FLAVOURS);
    }
    run(&chosen, extent)
}

/// Boots every machine that has something to do.
pub(crate) fn all(extent: Extent) -> Outcome {
    run(&FLAVOURS.iter().collect::<Vec<_>>(), extent)
}

fn run(flavours: &[&Flavour], extent: Extent) -> Outcome {
    packages::install(&packages::VM)?;
    // What the tests of this machine call, those in there do too.
    packages::install(&packages::RUN)?;
    packages::install(&packages::REGISTRY)?;
    packages::install(&packages::TEST)?;
    packages::install_docker_client()?;
    let dir = root().join("target/vm");
    files::create(&dir)?;
    let kernel = machine::kernel(&dir)?;
    let initramfs = machine::initramfs(&dir, &kernel)?;
    for flavour in flavours {
        let tests = flavour.tests(extent);
        if tests.is_empty() {
            continue;
        }
        let disk = disk::disk(&dir, &kernel, flavour, tests)?;
        machine::boot(&kernel, &initramfs, &disk, flavour)?;
    }
    Ok(())
}
