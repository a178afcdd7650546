//! A store whose file cannot grow goes on once it can. Linux reports a limit on the size of files (`RLIMIT_FSIZE`) as an
//! I/O error, as it does a full disk.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

use conex_metadata::{Changes, CommitError, Metadata, Table};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set in the process that runs under the limit.
const LIMITED: &str = "CONEX_TEST_FILE_LIMIT";

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
fn work_goes_on_when_there_is_room_again() {
    if std::env::var_os(LIMITED).is_none() {
        // The limit is the process's, and its signal, which would end it, is ignored by the shell's grace (sigaction(2)).
        let status = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "work_goes_on_when_there_is_room_again", "--nocapture"])
            .env(LIMITED, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("meta.redb")).unwrap();
    metadata
        .commit(Changes::new().put(Table::Images, "before", "1"))
        .wait()
        .unwrap();

    limit(Some(4096));
    for _ in 0..3 {
        let refused = metadata
            .commit(Changes::new().put(Table::Images, "full", vec![7; 4 << 20]))
            .wait();
        assert!(matches!(refused, Err(CommitError::Store { .. })), "{refused:?}");
    }
    limit(None);

    metadata
        .commit(Changes::new().put(Table::Images, "after", "2"))
        .wait()
        .unwrap();
    let keys: Vec<String> = metadata
        .load(Table::Images)
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["after", "before"]);
}
