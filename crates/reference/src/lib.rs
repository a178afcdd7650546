//! How images, contents and containers are named: references, digests, ids and platforms.
//!
//! Each of these is parsed once, at the edge where text comes in, and is a value from there on:
//!
//! ```text
//!   "busybox"                        -> Reference  docker.io/library/busybox        (name only)
//!   "ghcr.io/a/b:1.2@sha256:2cf2..." -> Reference  domain, path, tag, digest
//!   "sha256:2cf2..."                 -> Digest     of a blob or a manifest
//!   "sha256:2cf2..."                 -> ImageId    digest of an image's configuration
//!   "4f66ad9a0b2e..."                -> ContainerId
//!   "linux/arm/v7"                   -> Platform
//! ```
//!
//! The grammar, the short ("familiar") form and the texts of the errors are those of Docker's clients, which match on
//! them. Nothing here has an effect; all of it takes foreign text and never panics on it.

mod digest;
mod grammar;
mod hex;
mod id;
mod platform;
mod reference;

pub use crate::digest::{Digest, DigestError, Verifier};
pub use crate::id::{ContainerId, IdError, ImageId};
pub use crate::platform::{Platform, PlatformError};
pub use crate::reference::{AnyReference, DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
