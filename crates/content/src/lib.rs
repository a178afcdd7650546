//! The content store: files named by their SHA-256, in the layout of an OCI image directory.
//!
//! ```text
//!   content/
//!       oci-layout, index.json                   what makes it a layout that others read in place
//!       blobs/sha256/<64 hexadecimal digits>     complete, right, on disk
//!       ingest/<n>                               being written; collected at the next start
//!       partial/<64 hexadecimal digits>          what came of a blob whose transfer broke off; kept for a week
//! ```
//!
//! A blob is written and hashed at once, synced, and published by rename when its digest is right. It is never changed
//! afterwards. Everything here is synchronous; a program with an event loop calls it from a thread that may block.

mod ingest;
mod layout;
mod partial;
mod store;
mod verify;

pub use crate::ingest::{Aside, Ingest, Spool};
pub use crate::partial::{Begun, Partial};
pub use crate::store::{Content, ContentError};
