//! The handle of the image store.

use std::sync::Arc;

use conex_archive::Limits;
use conex_reference::Platform;
/// How long the compressed layers of images are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Until they are unpacked: an image takes little more than its files.
    #[default]
    UntilUnpacked,
    /// As long as their image: others copy images out of the store, and a push sends what came.
    Always,
}

impl Keep {
    /// Parses the word of the configuration.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "until-unpacked" => Some(Self::UntilUnpacked),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}

/// What an administrator can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What this machine runs: chosen where a name means images of several platforms.
    pub host: Platform,
    /// Downloads of one pull at a time (`max-concurrent-downloads` of `daemon.json`).
    pub concurrent_downloads: usize,
    /// Uploads of one push at a time (`max-concurrent-uploads`).
    pub concurrent_uploads: usize,
    /// What a layer that is pulled, loaded or imported may come to (`max-layer-size`, `max-layer-entries`, `max-layer-ratio`).
    pub limits: Limits,
    /// What becomes of compressed layers (`content-keep`).
    pub keep: Keep,
}

impl Settings {
    /// Docker's defaults, on a machine of this platform.
    #[must_use]
    pub fn new(host: Platform) -> Self {
        Self {
            host,
            concurrent_downloads: 3,
            concurrent_uploads: 5,
            limits: Limits::NONE,
            keep: Keep::default(),
        }
    }
}

/// The image store; clones share it.
///
/// ```text
/// Images::open(metadata, content, snapshots, settings) -> Result<Images, OpenError>      collects what a crash left
/// images.list() -> Vec<Arc<Image>>                                                       newest first
/// images.find("busybox" | "sha256:..." | id prefix | name@digest) -> Result<Arc<Image>, FindError>
/// images.hold(name, platform).await -> Result<Lease, FindError>                                    not removed while it is held
/// images.read_config(&image) -> raw bytes of the configuration
/// images.pull(PullRequest { registry, reference, platform }, sink).await -> Result<Pulled, PullError>
/// images.push(PushRequest { registries, credentials, reference, platform }, sink).await -> Result<(), PushError>
/// images.load(stream of bytes, platform, sink).await -> Result<Vec<Arc<Image>>, LoadError>
/// images.write_layer(&base, write).await, images.read_layer(stream, told).await -> Result<MadeLayer, LayerError>
/// images.base(id).await -> Option<Base>                                                  its layers stay while it lives
/// images.create(Creation { base, layer, config, entry, name }).await -> Result<Arc<Image>, CreateError>
/// images.save(&SaveRequest { names, platform, since }).await -> Result<Saving, SaveError>    then saving.write(output), blocking
/// images.tag(name or id, &reference).await -> Result<String, TagError>                    all platforms of a name
/// images.settle_layout()                                                                 content/index.json says what there is
/// images.usage() -> Usage                                                                bytes of layers, shared and not
/// images.remove(Removal { name, which, force, prune, users }).await -> Result<Vec<Removed>, RemoveError>
/// images.find_of_container(id) -> Result<Arc<Image>, FindError>                          also what was removed by force
/// images.collect_retained(users).await -> Result<(), RemoveError>                        once its containers are gone
/// ```
#[derive(Debug, Clone)]
pub struct Images {
    pub(crate) shared: Arc<crate::index::Shared>,
}
