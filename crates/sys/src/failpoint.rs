//! Fail points: named places where a test makes a program die as `kill -9` would make it die.
//!
//! `CONEX_FAIL_POINT=name` kills at the first arrival, `name@n` at the n-th; `stop:name` stops it there as SIGSTOP does, until
//! the test lets it go on. Unset, a point costs one comparison.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

struct Armed {
    name: String,
    left: AtomicU32,
    signal: Signal,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Dies or stops here if the environment says so.
pub fn hit(name: &str) {
    let Some(armed) = ARMED.get_or_init(armed) else { return };
    if armed.name == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Neither signal can be handled: no destructor and no handler runs, as in a real crash.
        let _ = rustix::process::kill_process(rustix::process::getpid(), armed.signal);
    }
}

fn armed() -> Option<Armed> {
    let text = env::var("CONEX_FAIL_POINT").ok()?;
    let (text, signal) = match text.strip_prefix("stop:") {
        Some(text) => (text, Signal::STOP),
        None => (text.as_str(), Signal::KILL),
    };
    let (name, count) = text.split_once('@').unwrap_or((text, "1"));
    Some(Armed {
        name: name.to_owned(),
        left: AtomicU32::new(count.parse().unwrap_or(1)),
        signal,
    })
}
