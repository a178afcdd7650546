//! What happens during a pull, a push or a load, as data; the engine words it.

use std::sync::Arc;

use conex_registry::Quota;

/// Where events go. Called from tasks and blocking threads; must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// First twelve digits of the layer's digest; the tag for `PullingFrom`; `None` for the image as a whole.
    pub id: Option<String>,
    /// What happened.
    pub status: Status,
}

/// What happened. Numbers are bytes of the blob as it is transferred; at a push, of the layer's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// `Pulling from library/busybox`, with the tag or digest as id.
    PullingFrom(String),
    /// `Pulling fs layer`.
    PullingLayer,
    /// `Waiting` for a free download or for another pull of the same layer.
    Waiting,
    /// `Downloading`.
    Downloading {
        /// Bytes that have arrived.
        current: u64,
        /// Bytes of the blob.
        total: u64,
    },
    /// `Verifying Checksum`.
    VerifyingChecksum,
    /// `Download complete`.
    DownloadComplete,
    /// `Extracting`.
    Extracting {
        /// Bytes that are unpacked.
        current: u64,
        /// Bytes of the blob.
        total: u64,
    },
    /// `Pull complete`.
    PullComplete,
    /// `Already exists`.
    AlreadyExists,
    /// `Digest: sha256:...` of the manifest or index.
    Digest(String),
    /// `7 of 100 pulls left in 6 h`, where few are.
    LowQuota(Quota),
    /// `Status: Downloaded newer image for busybox:latest`.
    DownloadedNewer(String),
    /// `Status: Image is up to date for busybox:latest`.
    UpToDate(String),
    /// `WARNING: image with reference busybox:latest was found but its platform ...`: what came is of another platform than
    /// what was asked for.
    OtherPlatform(String),
    /// `The push refers to repository [docker.io/library/busybox]`.
    PushingTo(String),
    /// `Preparing`, at a push.
    Preparing,
    /// `Pushing`.
    Pushing {
        /// Bytes that are compressed and taken.
        current: u64,
        /// Bytes of the archive.
        total: u64,
    },
    /// `Pushed`.
    Pushed,
    /// `Layer sha256:... was compressed anew and is sha256:... there`: nobody has the blob any more by which it came.
    Recompressed {
        /// Digest of that blob.
        old: String,
        /// Digest of the new one.
        new: String,
    },
    /// `Layer already exists`, in the registry.
    LayerExists,
    /// `Mounted from library/busybox`, another repository of the registry.
    MountedFrom(String),
    /// `Retrying in 5 seconds`.
    RetryingIn(u64),
    /// `latest: digest: sha256:... size: 528`.
    TagPushed(PushedTag),
    /// The same for programs.
    PushResult(PushedTag),
    /// `Loading layer`, during a load.
    LoadingLayer {
        /// Bytes that are unpacked.
        current: u64,
        /// Bytes of the layer in the archive.
        total: u64,
    },
    /// `Loaded image: busybox:latest`.
    LoadedName(String),
    /// `Loaded image ID: sha256:...`, for an image without a name.
    LoadedId(String),
}

/// A tag that the registry has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag.
    pub tag: String,
    /// Digest of its manifest (`sha256:...`).
    pub digest: String,
    /// Bytes of its manifest.
    pub size: usize,
}
