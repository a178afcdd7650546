//! Users and groups of the container's own `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use std::fs::File;
use std::io::Read;

use conex_spec::account::{self, Account};
use conex_spec::plan::UserSpec;
use rustix::fs::{Mode, OFlags};

/// Largest file that is read; an image may hold anything under these names.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Looks a user up, with `/` as the container's root.
pub(crate) fn look_up(user: &UserSpec) -> Result<Account, String> {
    let read = |path: &str| {
        let mut bytes = Vec::new();
        // Of an image it may be anything: a fifo that nobody writes to, or a terminal.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Images without accounts are common; they have root only.
        if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
            let _ = File::from(file).take(MAX_FILE).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    account::resolve(user, &read("/etc/passwd"), &read("/etc/group"))
}
