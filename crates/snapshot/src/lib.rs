//! Unpacked layers, and the root file systems that are made of them.
//!
//! ```text
//!   <data-root>/
//!       layers/tmp-<n>/      being unpacked; whatever is left of a crash goes to the trash at the next start
//!       layers/<name>/       published by rename; names are short, so that many fit into one page of mount options
//!       trash/<n>/           renamed here first, deleted by a thread, collected at start
//!   <data-root>/containers/<id>/{upper,work}     a container's writable layer, made when it is first mounted
//!   <data-root>/containers/<id>/tree[.copied]     as above, of drivers that keep whole trees (`subvolume`, of btrfs)
//!   <data-root>/containers/<id>/fuse-{upper,work} as `upper` and `work`, of fuse-overlayfs
//!   <data-root>/containers/<id>/[fuse-]upper.disk a file system that has the two, where that is what limits them
//! ```
//!
//! How layers and containers are kept is the storage driver's business (`Driver`). With `overlay2`, the default, a root file
//! system is a detached mount where the kernel takes layers one by one (`lowerdir+`, 6.8); before that, names relative to
//! the data root, for the container's first process to mount by mount(2).

mod bind;
mod changes;
mod compare;
mod convert;
mod copied;
mod copy;
mod difference;
mod disk;
mod driver;
mod error;
mod fuse;
mod limit;
mod mapped;
mod overlay;
mod probe;
mod rootfs;
mod store;
mod subvolumes;
mod trash;
mod tree;

pub use crate::bind::Binding;
pub use crate::changes::Change;
pub use crate::difference::Difference;
pub use crate::driver::{Driver, DriverError, OverlayMethod, StorageOptions};
pub use crate::error::SnapshotError;
pub use crate::limit::{Limit, LimitError, LimitMethod, LimitedBy, Own};
pub use crate::rootfs::{Mapped, Rootfs, Writable};
pub use crate::store::{Layer, LayerName, Snapshots, Staging};
