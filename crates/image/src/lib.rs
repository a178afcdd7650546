//! The image store: images by name, how they come in (pull, load), are made (commit, import) and go out (push, save), and what
//! they are stacked from.
//!
//! ```text
//!   per layer, all layers at once (three downloads at a time):
//!
//!   socket --chunks--> [ sha256 of the blob | decompress   ] --blocks--> [ sha256 diff id | extract ] --> layers/tmp-<n>
//!      task              blocking thread                        blocking thread
//!
//!   both digests right  -> layers/tmp-<n> is renamed to layers/<name>       (a wrong one: discarded)
//!   all layers in place -> syncfs, configuration and manifest into content/, one metadata transaction: layers, image, tag
//! ```
//!
//! Nothing is acknowledged before the last line. What a failed or killed pull leaves is unreferenced: layers that no other
//! image or pull holds are discarded at once, or by the collection in `Images::open`. What came of their blobs is kept
//! (`content/partial`), and the next pull goes on there.
//!
//! Changes follow each other (`Shared::changes`) and are carried through, on a task of their own, even if whoever asked for
//! them goes away. A removal waits for those who are about to use an image or a layer (`Shared::uses`), and they for it.
//!
//! Compressed layers are kept where `content-keep` says so; archives come back without them from what was written while they
//! were unpacked (`docs/design/0006-layers-come-back.md`, `0009-the-content-store-is-a-layout.md`). Configurations and manifests are, byte for byte, because ids are their digests.

mod arrived;
mod check;
mod collect;
mod config;
mod convert;
mod create;
mod documents;
mod error;
mod find;
mod hashing;
mod held;
mod image;
mod images;
mod index;
mod judge;
mod kept;
mod layers;
mod layout;
mod lease;
mod load;
mod manifests;
mod names;
mod origins;
mod pipeline;
mod progress;
mod pull;
mod push;
mod records;
mod remove;
mod repair;
mod save;
mod tag;
mod usage;

pub use conex_archive::Limits;

pub use crate::check::{CheckError, Checked, Finding};
pub use crate::config::{Healthcheck, History, ImageConfig, RunConfig};
pub use crate::convert::Converted;
pub use crate::create::{Base, Creation, MadeLayer};
pub use crate::error::{
    CreateError, FindError, LayerError, LoadError, OpenError, PullError, PushError, RemoveError, SaveError, TagError,
};
pub use crate::find::Lease;
pub use crate::image::Image;
pub use crate::images::{Images, Keep, Settings};
pub use crate::manifests::{ManifestKind, ManifestSummary};
pub use crate::pipeline::WriteArchive;
pub use crate::progress::{Progress, ProgressSink, PushedTag, Status};
pub use crate::pull::{PullRequest, Pulled};
pub use crate::push::PushRequest;
pub use crate::remove::{Removal, Removed, User, Which};
pub use crate::repair::{Repaired, Users};
pub use crate::save::{SaveRequest, Saving};
pub use crate::usage::{BlobPlace, Places, Usage};
