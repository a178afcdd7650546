//! The seam between the image store and where images come from.

use bytes::Bytes;
use conex_reference::{Digest, Reference};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::Result;
use crate::manifest::Descriptor;
use crate::quota::Quota;

/// The content of a blob, piece by piece.
pub type BlobStream = BoxStream<'static, Result<Bytes>>;

/// Where manifests and blobs come from: a real registry, or one that a test scripts.
pub trait Registry: Send + Sync {
    /// The manifest that a reference names: by its digest if it has one, else by its tag, else `latest`.
    ///
    /// The bytes were checked against the digest, and are the registry's, so that their digest stays what it is.
    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<FetchedManifest>>;

    /// The content of a blob of `repository` (whose tag and digest play no part) from `offset` on.
    ///
    /// The stream ends after `size` bytes or with an error; it is not checked against the digest, since whoever stores
    /// the content hashes it anyway.
    fn blob<'a>(
        &'a self,
        repository: &'a Reference,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<Blob>>;

    /// How much may still be pulled, as the registry told at the last manifest.
    fn quota(&self) -> Option<Quota> {
        None
    }
}

/// A manifest as a registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The `Content-Type` without parameters, empty if there was none; `manifest::parse` copes with wrong ones.
    pub media_type: String,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// The manifest itself, at most 4 MiB.
    pub bytes: Bytes,
}

/// A blob that has begun to arrive.
pub struct Blob {
    /// Bytes of the whole blob, including those before the offset.
    pub size: u64,
    /// What follows from the offset on.
    pub stream: BlobStream,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Blob")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
