//! Fail points: named places where a test makes a program die as `kill -9` would make it die.
//!
//! `CONEX_FAIL_POINT=name` kills at the first arrival, `name@n` at the n-th. Unset, a point costs one comparison.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Armed {
    name: String,
    left: AtomicU32,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Dies here if the environment says so.
pub fn hit(name: &str) {
    let Some(armed) = ARMED.get_or_init(armed) else { return };
    if armed.name == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SIGKILL cannot be handled: no destructor and no handler runs, as in a real crash.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn armed() -> Option<Armed> {
    let text = env::var("CONEX_FAIL_POINT").ok()?;
    let (name, count) = text.split_once('@').unwrap_or((&text, "1"));
    Some(Armed {
        name: name.to_owned(),
        left: AtomicU32::new(count.parse().unwrap_or(1)),
    })
}
