//! Trees are labelled however deep they are, and nothing beside them. Without SELinux a label is an attribute as any other. On
//! its own: it bounds the descriptors of its process.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/nest.rs"]
mod support;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use conex_sys::selinux;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::nest;

const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn is_labelled(path: &Path) -> bool {
    selinux::has_label(File::open(path).unwrap().as_fd(), LABEL)
}

#[test]
fn a_tree_is_labelled_however_deep_it_is_and_nothing_that_links_lead_to() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let bound = Rlimit {
        current: Some(64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, bound).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (tree, beside) = (dir.path().join("tree"), dir.path().join("beside"));
    for made in [&tree, &beside, &beside.join("below"), &tree.join("wide")] {
        fs::create_dir(made).unwrap();
    }
    fs::write(beside.join("file"), "").unwrap();
    symlink("../beside", tree.join("directory-link")).unwrap();
    symlink("../beside/file", tree.join("file-link")).unwrap();
    for number in 0..200 {
        fs::create_dir(tree.join("wide").join(number.to_string())).unwrap();
    }
    let deepest = nest(&tree, 300);

    selinux::label_tree(File::open(&tree).unwrap().as_fd(), LABEL).unwrap();
    let labelled = ["", "file", "directory/file", "directory/directory", "wide", "wide/199"];
    for path in labelled {
        assert!(is_labelled(&tree.join(path)), "{path}");
    }
    assert!(selinux::has_label(deepest.as_fd(), LABEL));
    for path in ["", "file", "below"] {
        assert!(!is_labelled(&beside.join(path)), "{path}");
    }
}

#[test]
fn a_file_is_labelled_by_itself() {
    let file = tempfile::NamedTempFile::new().unwrap();
    selinux::label_tree(file.as_file().as_fd(), LABEL).unwrap();
    assert!(is_labelled(file.path()));
    assert!(!selinux::has_label(
        file.as_file().as_fd(),
        "system_u:object_r:container_file_t:s0"
    ));
}
