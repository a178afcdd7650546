//! The content store on a scratch directory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use conex_content::{Content, ContentError};
use conex_reference::Digest;

fn scratch() -> (tempfile::TempDir, Content) {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::open(dir.path()).unwrap();
    (dir, content)
}

#[test]
fn a_blob_is_found_under_its_digest() {
    let (dir, content) = scratch();
    let digest = content.put(b"hello").unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(content.read(&digest).unwrap(), b"hello");
    assert_eq!(content.size(&digest).unwrap(), 5);
    assert!(dir.path().join("blobs/sha256").join(digest.hex()).is_file());
    assert_eq!(content.list().unwrap(), [digest]);
}

#[test]
fn a_blob_that_was_put_twice_is_there_once() {
    let (_dir, content) = scratch();
    assert_eq!(content.put(b"x").unwrap(), content.put(b"x").unwrap());
    assert_eq!(content.list().unwrap().len(), 1);
}

#[test]
fn a_wrong_digest_is_refused_and_leaves_nothing() {
    let (dir, content) = scratch();
    let mut ingest = content.ingest().unwrap();
    ingest.append(b"control").unwrap();
    let refused = ingest.commit(Some(&Digest::of(b"content"))).unwrap_err();
    assert!(matches!(refused, ContentError::Digest { actual, .. } if actual == Digest::of(b"control")));
    assert!(content.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
}

#[test]
fn a_blob_that_was_abandoned_leaves_nothing() {
    let (dir, content) = scratch();
    content.ingest().unwrap().append(b"half").unwrap();
    assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
}

#[test]
fn what_a_crash_left_is_collected_at_the_next_start() {
    let (dir, content) = scratch();
    let kept = content.put(b"kept").unwrap();
    fs::write(dir.path().join("ingest/7"), b"half").unwrap();
    let content = Content::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
    assert!(content.contains(&kept));
}

#[test]
fn a_blob_is_gone_after_it_was_removed_and_removing_it_again_is_no_error() {
    let (_dir, content) = scratch();
    let digest = content.put(b"x").unwrap();
    content.remove(&digest).unwrap();
    content.remove(&digest).unwrap();
    assert_eq!(content.read(&digest).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
