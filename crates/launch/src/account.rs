//! Users and groups of the container's own `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use std::fs::File;
use std::io::Read;

use conex_spec::account::{self, Account};
use conex_spec::plan::UserSpec;

/// Largest file that is read; an image may hold anything under these names.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Looks a user up, with `/` as the container's root.
pub(crate) fn look_up(user: &UserSpec) -> Result<Account, String> {
    let read = |path: &str| {
        let mut bytes = Vec::new();
        // Images without accounts are common; they have root only.
        if let Ok(file) = File::open(path) {
            let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    account::resolve(user, &read("/etc/passwd"), &read("/etc/group"))
}
