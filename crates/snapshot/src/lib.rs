//! Unpacked layers, and the root file systems that are stacked from them.
//!
//! ```text
//!   <data-root>/
//!       layers/tmp-<n>/      being unpacked; whatever is left of a crash goes to the trash at the next start
//!       layers/<name>/       published by rename; names are short, so that many fit into one page of mount options
//!       trash/<n>/           renamed here first, deleted by a thread, collected at start
//!   <data-root>/containers/<id>/{upper,work}     a container's writable layer, made when it is first mounted
//! ```
//!
//! The storage driver is overlayfs (reported as `overlay2`, which clients match on). A root file system is a detached mount
//! where the kernel takes layers one by one (`lowerdir+`, 6.8); before that, names relative to the data root, for the
//! container's first process to mount by mount(2).

mod bind;
mod changes;
mod error;
mod overlay;
mod store;
mod trash;

pub use crate::changes::Change;
pub use crate::error::SnapshotError;
pub use crate::overlay::{OverlayMethod, Rootfs, Writable};
pub use crate::store::{Layer, LayerName, Snapshots, Staging};

/// Name of the storage driver in `info` and `inspect`.
pub const DRIVER: &str = "overlay2";
