//! Trees are removed however deep and wide they are, with few descriptors. On its own: it bounds those of its process.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/nest.rs"]
mod support;

use std::fs;
use std::os::unix::fs::symlink;

use conex_sys::tree;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::nest;

#[test]
fn a_tree_is_removed_however_deep_it_is_and_nothing_beside_it() {
    let bound = Rlimit {
        current: Some(100),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, bound).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (tree, beside) = (scratch.path().join("tree"), scratch.path().join("beside"));
    fs::create_dir_all(tree.join("wide")).unwrap();
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("file"), "stays").unwrap();
    nest(&tree, 6000);
    for number in 0..3000 {
        fs::create_dir_all(tree.join(format!("wide/{number}/below"))).unwrap();
        symlink(&beside, tree.join(format!("wide/{number}/link"))).unwrap();
    }
    fs::write(tree.join("raised-0"), "in the way").unwrap();
    tree::remove(&tree).unwrap();
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(beside.join("file")).unwrap(), "stays");
    // A link goes, what it leads to stays; and what is not there is gone already.
    let link = scratch.path().join("link");
    symlink(&beside, &link).unwrap();
    tree::remove(&link).unwrap();
    tree::remove(&link).unwrap();
    assert!(beside.join("file").exists() && fs::symlink_metadata(&link).is_err());
    tree::remove(&beside).unwrap();
    assert!(!beside.exists());
}
