//! How operations on images fail; texts that users see are Docker's.

use conex_archive::{ArchiveError, ExtractError};
use conex_content::ContentError;
use conex_metadata::{CommitError, ReadError};
use conex_reference::{Digest, Reference, ReferenceError};
use conex_registry::{ErrorKind, ManifestError, RegistryError};
use conex_snapshot::SnapshotError;

use crate::layers::Wanted;

/// The store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The metadata cannot be read.
    #[error("{0}")]
    Metadata(#[from] ReadError),
    /// A record is damaged.
    #[error("the record of {key} is damaged: {source}")]
    Record {
        /// Its key.
        key: String,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The layer store.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// An image is not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None has this name or id.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// The name as clients write it.
        name: String,
    },
    /// Several ids begin like this.
    #[error("ambiguous image ID prefix: {prefix}")]
    Ambiguous {
        /// The prefix.
        prefix: String,
    },
    /// The one image of this name or id is of another platform.
    #[error(
        "image with reference {name} was found but its platform ({built_for}) does not match the specified platform ({wanted})"
    )]
    OtherPlatform {
        /// As the client wrote it.
        name: String,
        /// The image's.
        built_for: String,
        /// The client's.
        wanted: String,
    },
    /// Of the images of this name none is of the platform.
    #[error("image with reference {name} was found but does not provide the specified platform ({wanted})")]
    NoPlatform {
        /// As the client wrote it.
        name: String,
        /// The client's.
        wanted: String,
    },
    /// Neither a name nor an id.
    #[error(transparent)]
    Invalid(#[from] ReferenceError),
}

/// A layer is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The blob is not what its descriptor says.
    #[error("filesystem layer verification failed for digest {digest}")]
    Blob {
        /// What was expected.
        digest: String,
    },
    /// The archive does not have the layer, and it is not here.
    #[error(
        "layer {layer} is not in the archive, nor is it here: load the image first that the archive was saved upon"
    )]
    LeftOut {
        /// Its diff id.
        layer: String,
    },
    /// The blob ends too early.
    #[error("unexpected EOF: layer {digest} has {actual} bytes, its descriptor says {expected}")]
    Truncated {
        /// Digest of the blob.
        digest: String,
        /// Bytes that came.
        actual: u64,
        /// Bytes that were promised.
        expected: u64,
    },
    /// The blob is right but for its size.
    #[error("size verification failed for layer {digest}: it has {actual} bytes, its descriptor says {expected}")]
    Size {
        /// Digest of the blob.
        digest: String,
        /// Bytes that came.
        actual: u64,
        /// Bytes that were promised.
        expected: u64,
    },
    /// The archive is not what the configuration says.
    #[error("layer verification failed: the archive has diff id {actual}, the configuration says {expected}")]
    DiffId {
        /// What was expected.
        expected: String,
        /// What came.
        actual: String,
    },
    /// The archive.
    #[error("failed to register layer: {0}")]
    Extract(#[from] ExtractError),
    /// The layer store.
    #[error("failed to register layer: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A layer of an image is not recorded.
    #[error("the layer {diff_id} is not there")]
    Missing {
        /// Its diff id.
        diff_id: String,
    },
    /// It is one of more than the storage driver can stack.
    #[error("failed to register layer: max depth exceeded: {layers} layers, {driver} takes {most} at most")]
    Depth {
        /// Those of the image.
        layers: usize,
        /// The driver.
        driver: &'static str,
        /// What it takes.
        most: usize,
    },
    /// What came of its blob.
    #[error("keep what comes of a layer: {0}")]
    Content(#[from] ContentError),
    /// Its archive cannot be kept as a blob.
    #[error("keep the layer: {0}")]
    Keep(#[source] Box<SaveError>),
    /// Its archive cannot be written.
    #[error("pack the layer: {0}")]
    Pack(#[source] std::io::Error),
    /// What gives its archive back cannot be written.
    #[error("failed to register layer: write reconstruction data: {0}")]
    Skeleton(#[source] std::io::Error),
    /// Of one of several layers.
    #[error("{source} (layer {layer})")]
    Of {
        /// Digest of its blob, or its diff id where the blob's was not told.
        layer: String,
        /// What went wrong.
        source: Box<LayerError>,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A worker ended without an answer.
    #[error("unpacking was cut off")]
    CutOff,
}

impl LayerError {
    /// Whether it did not come, and may another time. What a registry does not have, or has of another size, will not.
    pub(crate) fn is_of_transfer(&self) -> bool {
        let Self::Registry(error) = self else {
            return false;
        };
        matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::TooManyRequests | ErrorKind::Unauthorized | ErrorKind::Local
        )
    }

    /// Tells the layer, where the error does not.
    pub(crate) fn of(self, wanted: &Wanted) -> Self {
        match self {
            Self::Blob { .. }
            | Self::LeftOut { .. }
            | Self::Truncated { .. }
            | Self::Size { .. }
            | Self::Of { .. }
            | Self::Registry(_)
            | Self::CutOff => self,
            error => Self::Of {
                layer: wanted
                    .blob
                    .map_or_else(|| wanted.diff_id.clone(), |digest| digest.to_string()),
                source: Box::new(error),
            },
        }
    }
}

/// An image is not pulled; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry lists a tag that is none.
    #[error("list of tags: {0}")]
    Tag(#[source] ReferenceError),
    /// The manifest is none of an image.
    #[error(transparent)]
    Unsuitable(ManifestError),
    /// The manifest is not right.
    #[error("{source} (manifest {digest})")]
    Manifest {
        /// Its digest.
        digest: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// A manifest or a configuration has another size than its descriptor says.
    #[error("size verification failed for {digest}: it has {actual} bytes, its descriptor says {expected}")]
    Size {
        /// Its digest.
        digest: String,
        /// Bytes that came.
        actual: u64,
        /// Bytes that were promised.
        expected: u64,
    },
    /// What it calls a layer is none.
    #[error("invalid manifest: layer {layer} is of type {media_type:?} (manifest {digest})")]
    LayerType {
        /// Digest of the blob.
        layer: String,
        /// What it is called.
        media_type: String,
        /// Digest of the manifest.
        digest: String,
    },
    /// Indexes within indexes.
    #[error("invalid manifest: indexes are nested too deeply (index {digest})")]
    Nested {
        /// The digest of the first that is too deep.
        digest: String,
    },
    /// The configuration is not what its descriptor says.
    #[error("image config verification failed for digest {digest}")]
    Config {
        /// What was expected.
        digest: String,
    },
    /// The configuration is no JSON of its kind.
    #[error("invalid image configuration: {source} (config {digest})")]
    ConfigFormat {
        /// Its digest.
        digest: String,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration names another number of layers than the manifest, or one by what is no digest.
    #[error("invalid image configuration: {diff_ids} diff ids for {layers} layers (config {digest})")]
    Layers {
        /// Its digest.
        digest: String,
        /// Those of the configuration.
        diff_ids: usize,
        /// Those of the manifest.
        layers: usize,
    },
    /// A layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The layer store.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The metadata store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl PullError {
    /// Tells which image it is, where the words have a place for it.
    pub(crate) fn naming(self, reference: &Reference) -> Self {
        match self {
            Self::Unsuitable(error) => Self::Unsuitable(error.naming(reference)),
            other => other,
        }
    }

    /// Whether the registry has no such image.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Registry(error) if error.kind() == ErrorKind::NotFound)
    }

    /// Whether a layer did not come. What came of it is right as far as anybody knows.
    pub(crate) fn is_of_transfer(&self) -> bool {
        matches!(self, Self::Layer(error) if error.is_of_transfer())
    }
}

/// An image is not made; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// What it was to be made upon is gone.
    #[error("No such image: {0}")]
    Gone(String),
    /// Its layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// Its configuration cannot be written.
    #[error("write the image's configuration: {0}")]
    Config(#[from] serde_json::Error),
    /// It cannot be recorded.
    #[error(transparent)]
    Record(#[from] PullError),
}

/// An archive of images is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The stream.
    #[error("read the archive: {0}")]
    Read(#[source] std::io::Error),
    /// It has neither `manifest.json` nor `index.json`.
    #[error("invalid archive: does not contain a manifest.json")]
    NoManifest,
    /// A file that its manifest names is not there.
    #[error("invalid archive: {path} is missing")]
    Missing {
        /// Its name.
        path: String,
    },
    /// A file is not what its name says.
    #[error("invalid archive: {path} has the digest {actual}")]
    Digest {
        /// Its name, which has its digest.
        path: String,
        /// The digest that it has.
        actual: Digest,
    },
    /// A file is larger than is allowed.
    #[error("invalid archive: {path} has more than {limit} bytes")]
    TooLarge {
        /// Its name.
        path: String,
        /// The bound.
        limit: u64,
    },
    /// It has more files than any archive of images.
    #[error("invalid archive: {path}: there are more than {limit} files before it")]
    TooMany {
        /// The first that was too many.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// A name is longer than a path may be.
    #[error("invalid archive: the name of member {member} has {length} bytes")]
    LongName {
        /// The how manieth member it is.
        member: usize,
        /// Bytes of its name.
        length: usize,
    },
    /// Nothing in it is for the platform.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A file is no JSON of its kind.
    #[error("invalid archive: {path}: {source}")]
    Format {
        /// Its name.
        path: String,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// A file that is read as a document is an archive itself, or compressed.
    #[error("invalid archive: {path}: it is no JSON")]
    NoDocument {
        /// Its name.
        path: String,
    },
    /// A name is not allowed.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// What an image of a registry can fail with as well.
    #[error(transparent)]
    Image(#[from] PullError),
}

/// Images are not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A layer was unpacked by a version that kept nothing to give its archive back.
    #[error("layer {layer} cannot be given back: it has no reconstruction data; pull or load the image again")]
    NoSkeleton {
        /// Its diff id.
        layer: String,
    },
    /// A layer is not what it was.
    #[error("give back layer {layer}: {source}")]
    Layer {
        /// Its diff id.
        layer: String,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Whoever it is for.
    #[error("write the archive: {0}")]
    Write(#[from] std::io::Error),
    /// The task ended without an answer.
    #[error("saving was cut off")]
    CutOff,
}

impl SaveError {
    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let (Self::Write(error) | Self::Layer { source: error, .. }) = self else {
            return false;
        };
        error.kind() == std::io::ErrorKind::BrokenPipe
    }
}

/// An image is not pushed, or not all of its names.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// No image has a name in this repository.
    #[error("An image does not exist locally with the tag: {0}")]
    NoImage(String),
    /// No image has this name.
    #[error("tag does not exist: {0}")]
    NoTag(String),
    /// The repository's names are all digests.
    #[error("no tags to push for {0}")]
    NoTags(String),
    /// The name is a digest.
    #[error("cannot push a digest reference")]
    Digest,
    /// The registry.
    #[error("{}", .0.plain())]
    Registry(#[from] RegistryError),
    /// A layer cannot be given back.
    #[error(transparent)]
    Layer(#[from] SaveError),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The metadata store.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A task ended without an answer.
    #[error("the push was cut off")]
    CutOff,
}

/// A name is not given.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The metadata store.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The task ended without an answer.
    #[error("the change was cut off")]
    CutOff,
}

/// An image is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A container uses its only name.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using its \
         referenced image {image}"
    )]
    Referenced {
        /// The name.
        name: String,
        /// The container's short id.
        container: String,
        /// The image's short id.
        image: String,
    },
    /// Other images were made upon it.
    #[error("conflict: unable to delete {image} (cannot be forced) - image has dependent child images")]
    Children {
        /// The image's short id.
        image: String,
    },
    /// A running container uses it.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image's short id.
        image: String,
        /// The container's short id.
        container: String,
    },
    /// A stopped container uses it.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped {
        /// The image's short id.
        image: String,
        /// The container's short id.
        container: String,
    },
    /// It has several tags, or names in several repositories.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    SeveralNames {
        /// The image's short id.
        image: String,
    },
    /// The metadata store.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The task ended without an answer.
    #[error("the change was cut off")]
    CutOff,
}

impl RemoveError {
    /// Whether a container or a name is in the way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        !matches!(self, Self::Find(_) | Self::Commit(_) | Self::CutOff)
    }
}
