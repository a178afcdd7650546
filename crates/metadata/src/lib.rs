//! The metadata store: containers, names, images, tags and layers in one transactional file.
//!
//! ```text
//!   commit(Changes) --+
//!   commit(Changes) --+--> queue --> writer thread: one transaction, one fsync --> answers to all
//!   commit(Changes) --+
//! ```
//!
//! What `commit` answered with `Ok` is on disk. Everything that queued up while one transaction was being synced goes into
//! the next one together (group commit), so that many clients at once pay for few syncs. Preconditions are judged by the
//! writer against what was committed before, so that two clients cannot both take a name.
//!
//! The file is `redb`: copy-on-write pages with checksums, one sync per transaction. A process killed at any instruction,
//! or a power cut, leaves the last transaction that was acknowledged. After an I/O error, such as a full disk, the file is
//! opened again at the next access, so that work goes on when there is room.
//!
//! | table | key | value |
//! |---|---|---|
//! | containers | container id | record of the engine (JSON) |
//! | names | container name | container id |
//! | images | image id | record of the image store (JSON) |
//! | tags | `repository:tag` or `repository@digest` | the images that it means, record of the image store (JSON) |
//! | layers | diff id, or chain id of a bound layer | record of the image store (JSON) |
//! | origins | diff id | which registries have the layer, record of the image store (JSON) |
//! | networks | network id | record of the engine (JSON) |
//! | data-root | name | what the engine notes about the data root itself |
//! | meta | `schema` | version of this layout |

mod changes;
mod error;
mod store;
mod writer;

pub use crate::changes::{Changes, Table};
pub use crate::error::{CommitError, OpenError, ReadError};
pub use crate::store::{Commit, Metadata};
