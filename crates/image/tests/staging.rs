//! Directories of layers and the process's umask, which is why this test has a process of its own.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::unix::fs::PermissionsExt;

use conex_snapshot::{Driver, OverlayMethod, Snapshots};

#[test]
fn a_staged_layer_can_be_entered_by_all_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(dir.path(), Driver::Overlay(OverlayMethod::Detached)).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let staging = snapshots.stage().unwrap();
    let mode = std::fs::metadata(staging.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}
