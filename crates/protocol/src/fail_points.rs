//! Places where a crash test kills a program: before and after every step that others can see.

/// In the daemon.
pub const DAEMON: &[&str] = &[
    "create.before-record",
    "create.after-record",
    "start.before-fork",
    "start.after-fork",
    "start.after-started",
    "exec.before-send",
    "exec.after-started",
    "exit.before-publish",
    "remove.before-record",
    "remove.after-record",
    "remove.before-trash",
    "remove.after-trash",
];

/// In the daemon, where volumes are made, filled and removed.
pub const VOLUME: &[&str] = &[
    "volume.before-record",
    "volume.after-record",
    "volume.copied",
    "volume.filled",
    "volume.before-tombstone",
    "volume.after-tombstone",
    "volume.before-end",
];

/// In the daemon, where a container's writable layer is put on a disk of its own.
pub const DISK: &[&str] = &[
    "limit.disk-made",
    "limit.disk-named",
    "limit.disk-bound",
    "limit.disk-mounted",
];

/// In the daemon, where a container's writable layer is made a project of its own.
pub const PROJECT: &[&str] = &["limit.project-set", "limit.project-joined", "limit.project-lifted"];

/// In the daemon, where an image comes in: its layers, and then the image itself.
pub const IMAGE: &[&str] = &[
    "layer.unpacked",
    "layer.before-publish",
    "layer.renamed",
    "layer.published",
    "image.before-sync",
    "image.synced",
    "image.before-record",
    "image.recorded",
];

/// In the daemon, where blobs that are kept are published, right before their image is recorded.
pub const BLOB: &[&str] = &["blob.before-adopt", "blob.adopted"];

/// In the daemon, while a commit has processes frozen.
pub const COMMIT: &[&str] = &["commit.held"];

/// In the daemon, where a health check's result is taken.
pub const HEALTH: &[&str] = &["health.before-note", "health.after-note", "health.unhealthy"];

/// In the template.
pub const TEMPLATE: &[&str] = &["template.before-fork", "template.after-fork"];

/// In a monitor that is to execute another program, and in that program. The first one is a trial's, which its monitor
/// outlives.
pub const UPGRADE: &[&str] = &["monitor.in-trial", "monitor.before-upgrade", "monitor.after-upgrade"];

/// In a monitor.
pub const MONITOR: &[&str] = &[
    "monitor.before-clone",
    "monitor.after-clone",
    "monitor.after-record",
    "monitor.exec-after-fork",
    "monitor.before-exit-record",
    "monitor.after-exit-record",
    "monitor.after-exit-told",
];
