//! Blobs while they arrive: verified as they stream, published by rename, and nothing of them left by a crash.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use conex_content::{Content, ContentError, Ingest};
use conex_reference::Digest;

/// Set for this program run again as the process that is killed: the store's root.
const ROOT: &str = "CONEX_TEST_CONTENT_ROOT";

fn scratch() -> (tempfile::TempDir, Content) {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::open(dir.path()).unwrap();
    (dir, content)
}

fn files(root: &Path, below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(below)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Bytes that differ from block to block.
fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 31 + index / 251).to_le_bytes()[0])
        .collect()
}

fn stream(ingest: &mut Ingest, bytes: &[u8], step: usize) {
    for chunk in bytes.chunks(step) {
        ingest.append(chunk).unwrap();
    }
}

#[test]
fn the_digest_does_not_depend_on_how_the_bytes_come() {
    let bytes = bytes(100_000);
    for step in [1, 63, 64, 65, 4096, 100_000] {
        let (_dir, content) = scratch();
        let mut ingest = content.ingest().unwrap();
        stream(&mut ingest, &bytes, step);
        assert_eq!(ingest.size(), 100_000);
        let digest = ingest.commit(None).unwrap();
        assert_eq!(digest, Digest::of(&bytes), "in steps of {step}");
        assert_eq!(content.read(&digest).unwrap(), bytes, "in steps of {step}");
    }
}

#[test]
fn one_changed_bit_is_found_and_leaves_nothing() {
    let right = bytes(5000);
    for (changed, is_right) in [(None, true), (Some(0), false), (Some(2500), false), (Some(4999), false)] {
        let (dir, content) = scratch();
        let mut bytes = right.clone();
        if let Some(at) = changed {
            bytes[at] ^= 1;
        }
        let mut ingest = content.ingest().unwrap();
        stream(&mut ingest, &bytes, 1000);
        let committed = ingest.commit(Some(&Digest::of(&right)));
        assert_eq!(committed.is_ok(), is_right, "{changed:?}");
        if let Err(error) = committed {
            assert!(matches!(error, ContentError::Digest { expected, .. } if expected == Digest::of(&right)));
        }
        assert_eq!(
            files(dir.path(), "blobs/sha256").len(),
            usize::from(is_right),
            "{changed:?}"
        );
        assert!(files(dir.path(), "ingest").is_empty(), "{changed:?}");
    }
}

#[test]
fn a_blob_that_ends_early_is_refused() {
    let (dir, content) = scratch();
    let bytes = bytes(5000);
    let mut ingest = content.ingest().unwrap();
    ingest.append(&bytes[..4999]).unwrap();
    assert!(ingest.commit(Some(&Digest::of(&bytes))).is_err());
    assert!(!content.contains(&Digest::of(&bytes)) && files(dir.path(), "ingest").is_empty());
    let mut ingest = content.ingest().unwrap();
    ingest.append(&bytes).unwrap();
    ingest.commit(Some(&Digest::of(&bytes))).unwrap();
    assert!(content.contains(&Digest::of(&bytes)));
}

#[test]
fn a_commit_gives_the_very_file_that_was_written_its_name() {
    let (dir, content) = scratch();
    let mut ingest = content.ingest().unwrap();
    ingest.append(b"hello").unwrap();
    let written = files(dir.path(), "ingest");
    let inode = fs::metadata(&written[0]).unwrap().ino();
    let digest = Digest::of(b"hello");
    assert!(!content.contains(&digest));
    ingest.commit(Some(&digest)).unwrap();
    let blob = fs::metadata(content.path(&digest)).unwrap();
    assert_eq!((blob.ino(), blob.permissions().mode() & 0o777), (inode, 0o600));
    assert!(files(dir.path(), "ingest").is_empty());
}

#[test]
fn the_same_blob_may_arrive_twice_at_once() {
    let (dir, content) = scratch();
    let (mut one, mut two) = (content.ingest().unwrap(), content.ingest().unwrap());
    one.append(b"x").unwrap();
    two.append(b"x").unwrap();
    assert_eq!(one.commit(None).unwrap(), two.commit(None).unwrap());
    assert_eq!(content.list().unwrap(), [Digest::of(b"x")]);
    assert!(files(dir.path(), "ingest").is_empty());
}

#[test]
fn what_was_written_stays_readable_after_the_ingest_is_dropped() {
    let (dir, content) = scratch();
    let mut ingest = content.ingest().unwrap();
    ingest.append(b"half").unwrap();
    let mut file = ingest.reopen().unwrap();
    drop(ingest);
    assert!(files(dir.path(), "ingest").is_empty());
    let mut read = String::new();
    file.read_to_string(&mut read).unwrap();
    assert_eq!(read, "half");
}

/// Not a test of its own: the process that others kill. It commits blobs and tells of each, and has one half written.
#[test]
fn helper_that_ingests_until_it_is_killed() {
    let Some(root) = env::var_os(ROOT) else { return };
    let content = Content::open(Path::new(&root)).unwrap();
    let mut half = content.ingest().unwrap();
    half.append(b"half").unwrap();
    for number in 0_u32.. {
        let mut ingest = content.ingest().unwrap();
        stream(&mut ingest, &bytes(20_000 + number as usize), 1000);
        println!("@{}", ingest.commit(None).unwrap());
    }
}

fn helper(root: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "helper_that_ingests_until_it_is_killed", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_leaves_nothing_that_open_does_not_collect() {
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = helper(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let digest = |line: &str| {
            line.split_once('@')
                .map(|(_, digest)| Digest::parse(digest.trim()).unwrap())
        };
        let mut told: Vec<Digest> = Vec::new();
        while told.is_empty() {
            told.extend(digest(&lines.next().unwrap().unwrap()));
        }
        thread::sleep(Duration::from_millis(7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // What stood in the pipe; the last line may be cut.
        told.extend(
            lines
                .map_while(Result::ok)
                .filter(|line| line.len() == 72)
                .filter_map(|line| digest(&line)),
        );

        // The control: there is something to collect.
        assert!(!files(dir.path(), "ingest").is_empty(), "round {round}");
        let content = Content::open(dir.path()).unwrap();
        assert!(files(dir.path(), "ingest").is_empty(), "round {round}");
        let found = content.list().unwrap();
        assert!(told.iter().all(|digest| found.contains(digest)), "round {round}");
        assert_eq!(files(dir.path(), "blobs/sha256").len(), found.len(), "round {round}");
        for digest in found {
            assert_eq!(Digest::of(&content.read(&digest).unwrap()), digest, "round {round}");
        }
    }
}

#[test]
fn what_is_kept_aside_is_seen_by_nobody_and_goes_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::open(dir.path()).unwrap();
    let count = || fs::read_dir(dir.path().join("ingest")).unwrap().count();
    let mut ingest = content.ingest().unwrap();
    ingest.append(b"aside").unwrap();
    let aside = ingest.keep_aside();
    assert_eq!((aside.digest(), aside.size()), (&Digest::of(b"aside"), 5));
    assert_eq!(aside.read().unwrap(), b"aside");
    assert!(!content.contains(aside.digest()));
    let (mut open, mut text) = (aside.open().unwrap(), String::new());
    assert_eq!(count(), 1);
    drop(aside);
    assert_eq!(count(), 0);
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "aside");
}
