//! Named volumes of the `local` driver: directories of the data root with a record each.
//!
//! ```text
//!   <data-root>/volumes/<name>/_data          what containers see; where the volume has a device, it is mounted here
//!   <data-root>/volumes/.new-<name>/_data     a volume before its record is committed
//!   <data-root>/volumes/<name>/_copying       contents of an image on their way into an empty volume
//!   <data-root>/volumes/<name>/_filled        the same when they are complete, while they move into `_data`
//!   metadata store                            name to `VolumeRecord`, or to a tombstone
//! ```
//!
//! ```text
//!   make      .new-<name>  ->  record committed  ->  renamed
//!   remove    tombstone committed  ->  directory to the trash  ->  tombstone deleted
//!   fill      _copying  ->  _filled  ->  entry by entry into _data
//! ```
//!
//! The commit decides: a daemon that comes after a crash finishes what was committed and discards what was not
//! (`Volumes::open`). A directory that nobody has a record of is taken for a volume, as Docker does: that is how volumes
//! are restored from a backup.

mod error;
mod fill;
mod local;
mod name;
mod record;
mod store;

pub use crate::error::VolumeError;
pub use crate::local::LocalOptions;
pub use crate::name::check_name;
pub use crate::record::VolumeRecord;
pub use crate::store::{Staged, Volumes};
