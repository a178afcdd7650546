//! Options of the driver `journald`.

/// Options besides those of all drivers.
pub(crate) const OPTIONS: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];

/// Where the journal of this host takes entries.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";
