//! A policy of SELinux: our own (`tests/selinux.cil`), compiled here, loaded before the tests, and found by the daemon where
//! those of distributions are.

use std::path::Path;
use std::process::Command;

use super::files::{create, only, write};
use crate::packages;
use crate::run::{Outcome, root, run};

/// The kernel takes a policy in one call of write(2).
const LOAD: &str = "mount -t selinuxfs selinuxfs /sys/fs/selinux\n\
    dd if=/etc/selinux/conex/policy of=/sys/fs/selinux/load bs=16M conv=notrunc\n";

/// What containers are labelled with by this policy (`lxc_contexts`).
const CONTEXTS: &str = "process = \"system_u:system_r:container_t:s0\"\n\
    file = \"system_u:object_r:container_file_t:s0\"\n\
    ro_file = \"system_u:object_r:container_ro_file_t:s0\"\n";

/// Categories of a level, as policies of distributions have them.
const CATEGORIES: u32 = 1024;

/// Puts the policy into a tree; returns the commands that load it.
pub(super) fn policy(tree: &Path) -> Outcome<String> {
    packages::unpack("selinux", &packages::SELINUX)?;
    let dir = root().join("target/selinux");
    let unpacked = dir.join("root");
    let directory = tree.join("etc/selinux/conex");
    create(&directory.join("contexts"))?;
    let categories = dir.join("categories.cil");
    write(&categories, &all_categories(), 0o644)?;
    run(Command::new(unpacked.join("usr/bin/secilc"))
        // The library has a directory of its architecture.
        .env("LD_LIBRARY_PATH", only(&unpacked.join("lib"))?)
        .arg("-o")
        .arg(directory.join("policy"))
        .arg("-f")
        .arg(dir.join("file_contexts"))
        .arg(root().join("tests/selinux.cil"))
        .arg(&categories))?;
    write(&directory.join("contexts/lxc_contexts"), CONTEXTS, 0o644)?;
    write(&tree.join("etc/selinux/config"), "SELINUXTYPE=conex\n", 0o644)?;
    Ok(LOAD.to_owned())
}

fn all_categories() -> String {
    let names: Vec<String> = (0..CATEGORIES).map(|number| format!("c{number}")).collect();
    let declared: String = names.iter().map(|name| format!("(category {name})\n")).collect();
    format!("{declared}(categoryorder ({}))\n", names.join(" "))
}
