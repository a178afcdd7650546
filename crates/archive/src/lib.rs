//! Archives: a streaming tar reader and writer, the extractor that unpacks a layer for overlayfs, the packer that makes one of
//! a container's writable layer, and what `docker cp` and `docker export` need: `pack_directory` and `unpack`, which also work
//! on what a running container changes meanwhile.
//!
//! The reader knows ustar, GNU (long names, base-256 numbers) and PAX (paths, sizes, owners, sub-second times, extended
//! attributes, sparse files). It holds one header and at most 1 MiB of an extension or of a map at a time.
//!
//! The extractor is security code: archives come from strangers, and it runs as root.
//!
//! * Every name is cleaned; what is absolute or climbs out is refused.
//! * Every parent directory is opened component by component from the root's descriptor with `O_NOFOLLOW`; a symbolic link
//!   among them is followed only beneath the root (`openat2(2)`, `RESOLVE_BENEATH`).
//! * Every object is made with the exclusive form of its system call, so that nothing is ever written through what an
//!   earlier member put there.
//! * `trusted.overlay.*`, `user.overlay.*` and `user.fuseoverlayfs.*` are dropped: they steer overlays, and only whiteouts
//!   may.
//!
//! Whiteouts (OCI image specification, "Layer", "Whiteouts") become what overlayfs understands: a character device 0:0, and
//! `trusted.overlay.opaque=y` on a directory.
//!
//! Layers are unpacked without looking at the layers below, in any order. Where that is impossible, `Extracted` says so:
//! directories that are implied and hard links into a lower layer.

mod compression;
mod entry;
mod error;
mod exchange;
mod extract;
mod header;
mod limits;
mod name;
mod node;
mod notes;
mod pack;
mod pack_layer;
mod parents;
mod pax;
mod reader;
mod recording;
mod skeleton;
mod sparse;
mod unpack;
mod whiteout;
mod writer;

pub use crate::compression::{Compression, decompressed};
pub use crate::entry::{Entry, Kind, Mtime};
pub use crate::error::{ArchiveError, ExtractError};
pub use crate::extract::{Extracted, HardLink, extract_layer};
pub use crate::limits::Limits;
pub use crate::pack::{Naming, pack_directory, pack_object};
pub use crate::pack_layer::{Omitted, pack_layer};
pub use crate::reader::{TarReader, read_error};
pub use crate::skeleton::{Skeleton, SkeletonWriter};
pub use crate::sparse::Segment;
pub use crate::unpack::{Unpacking, unpack};
pub use crate::writer::TarWriter;
