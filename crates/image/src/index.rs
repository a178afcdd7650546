//! What the store knows, in memory: loaded once, changed after each commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conex_content::Content;
use conex_metadata::Metadata;
use conex_reference::{Digest, Platform, Reference};
use conex_snapshot::{Layer, LayerName, Snapshots};

use crate::config::ImageConfig;
use crate::image::Image;
use crate::images::Settings;
use crate::layout::{Blobs, Layout};
use crate::names::{Meaning, Names};
use crate::records::{ImageRecord, LayerRecord, OriginsRecord};

/// What all handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
    pub(crate) snapshots: Snapshots,
    pub(crate) settings: Settings,
    pub(crate) index: Mutex<Index>,
    /// Held by whoever changes images and names, so that memory follows in the order of the commits.
    pub(crate) changes: Arc<tokio::sync::Mutex<()>>,
    /// Held for reading by whoever takes an image or a layer into use, until it is known to be used; a removal holds it
    /// for writing, from where it looks for users to its end.
    pub(crate) uses: Arc<tokio::sync::RwLock<()>>,
    /// Told of each change of names and images.
    pub(crate) layout: Layout,
}

impl Shared {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An image with its parsed configuration.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: ImageRecord,
    pub(crate) config: Arc<ImageConfig>,
    pub(crate) blobs: Arc<Blobs>,
}

impl Stored {
    /// What the image was built for.
    pub(crate) fn platform(&self) -> Platform {
        self.config.platform()
    }
}

/// A layer that is unpacked but not recorded yet, and how many pulls hold it.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) record: LayerRecord,
    pub(crate) holders: usize,
}

/// What one pull does at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Flight {
    /// Bringing in a layer upon those below it, by chain id.
    Layer(String),
    /// Downloading and unpacking it, by diff id, whatever it lies upon.
    Download(String),
}

/// Images by id, names in their complete form, layers by key.
#[derive(Debug)]
pub(crate) struct Index {
    /// What is chosen of several images under one name where nothing is said.
    host: Platform,
    pub(crate) images: HashMap<String, Stored>,
    /// Images that were removed while stopped containers have them: nobody else finds them.
    pub(crate) retained: HashMap<String, Stored>,
    /// Images whose configuration is not what it was: nobody finds them, and what they have is not collected.
    pub(crate) damaged: HashMap<String, Stored>,
    pub(crate) names: Names,
    pub(crate) layers: HashMap<String, LayerRecord>,
    /// Which registries have a layer, by diff id.
    pub(crate) origins: HashMap<String, OriginsRecord>,
    /// Recorded layers that are known to be damaged and are being brought in anew, by key.
    pub(crate) lost: HashSet<String>,
    pub(crate) fresh: HashMap<String, Fresh>,
    /// Layers being brought in: a second pull waits for the first.
    pub(crate) flights: HashMap<Flight, Arc<tokio::sync::Mutex<()>>>,
    /// Layers that a pull relies on and that must not be removed, by key.
    pub(crate) leases: HashMap<String, usize>,
    /// Blobs that a pull or a push relies on and that must not be removed.
    pub(crate) leased_blobs: HashMap<Digest, usize>,
    /// Leased blobs that came whole and right, and lie in `content/partial` until their image is recorded.
    pub(crate) arrived: HashSet<Digest>,
}

impl Index {
    /// Nothing yet, on a machine of this platform.
    pub(crate) fn new(host: Platform) -> Self {
        Self {
            host,
            images: HashMap::new(),
            retained: HashMap::new(),
            damaged: HashMap::new(),
            names: Names::default(),
            layers: HashMap::new(),
            origins: HashMap::new(),
            fresh: HashMap::new(),
            flights: HashMap::new(),
            leases: HashMap::new(),
            lost: HashSet::new(),
            leased_blobs: HashMap::new(),
            arrived: HashSet::new(),
        }
    }

    /// The image of a name that is meant where no platform is said: the one that runs here best, else the last that got
    /// the name.
    pub(crate) fn preferred<'a>(&self, meaning: &'a Meaning) -> Option<&'a String> {
        let rank = |id: &&String| {
            let platform = self.images.get(*id).map(Stored::platform)?;
            self.host.rank(&platform)
        };
        meaning.images.iter().min_by_key(|id| rank(id).unwrap_or(usize::MAX))
    }

    /// The image of a name that suits a platform best.
    pub(crate) fn suited<'a>(&self, meaning: &'a Meaning, platform: &Platform) -> Option<&'a String> {
        let ranked = meaning.images.iter().filter_map(|id| {
            let rank = platform.rank(&self.images.get(id)?.platform())?;
            Some((rank, id))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, id)| id)
    }

    /// What a name means once an image that came by `target` has it too: images of other platforms stay under the name as
    /// long as they came by the same index.
    pub(crate) fn joined(&self, name: &str, target: Option<Digest>, id: &str, platform: &Platform) -> Meaning {
        let mut images = vec![id.to_owned()];
        let known = self
            .names
            .get(name)
            .filter(|known| target.is_some() && known.target == target);
        let others = known.into_iter().flat_map(|known| &known.images).filter(|other| {
            let stored = self.images.get(*other);
            *other != id && stored.is_some_and(|stored| stored.platform().normalised() != platform.normalised())
        });
        images.extend(others.cloned());
        Meaning { target, images }
    }

    /// An image by its first name as Docker shows it, else by its id.
    pub(crate) fn called(&self, id: &str) -> String {
        let names = self.names.of_image(id).filter_map(|name| Reference::parse(name).ok());
        let first = names.map(|name| name.familiar()).min_by_key(|name| name.contains('@'));
        first.unwrap_or_else(|| id.to_owned())
    }

    /// Whether an image has this blob, a name came by it, or somebody relies on it.
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        let of = |stored: &Stored| stored.blobs.all().any(|other| other == digest);
        self.leased_blobs.contains_key(digest)
            || self.names.has_target(digest)
            || self.holders().any(|(_, stored)| of(stored))
    }

    /// Whether another image was made upon this one.
    pub(crate) fn has_children(&self, id: &str) -> bool {
        self.images
            .values()
            .any(|stored| stored.record.parent.as_deref() == Some(id))
    }

    /// An image as it is now.
    pub(crate) fn image(&self, id: &str) -> Option<Arc<Image>> {
        Some(self.assemble(id, self.images.get(id)?))
    }

    /// An image that a container was made of, whether it was removed since or not.
    pub(crate) fn image_of_container(&self, id: &str) -> Option<Arc<Image>> {
        let stored = self.images.get(id).or_else(|| self.retained.get(id))?;
        Some(self.assemble(id, stored))
    }

    /// All images that have layers.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (&String, &Stored)> {
        self.images.iter().chain(&self.retained).chain(&self.damaged)
    }

    fn assemble(&self, id: &str, stored: &Stored) -> Arc<Image> {
        let names = self.names.of_image(id);
        let names: Vec<Reference> = names.filter_map(|name| Reference::parse(name).ok()).collect();
        let familiar = |digests: bool| {
            let wanted = names.iter().filter(|name| name.digest().is_some() == digests);
            // In the order of the complete names, as Docker lists them.
            wanted.map(Reference::familiar).collect()
        };
        let layers: Vec<&LayerRecord> = stored
            .record
            .layers
            .iter()
            .rev()
            .filter_map(|key| self.layers.get(key))
            .collect();
        Arc::new(Image {
            id: id.to_owned(),
            config: stored.config.clone(),
            size: layers.iter().map(|layer| layer.size).sum(),
            layer_sizes: layers.iter().rev().map(|layer| layer.size).collect(),
            parent: stored.record.parent.clone(),
            layers: layers.into_iter().filter_map(layer).collect(),
            repo_tags: familiar(false),
            repo_digests: familiar(true),
            last_tagged: stored.record.last_tagged.map(i128::from),
        })
    }
}

/// A recorded layer as the layer store knows it.
pub(crate) fn layer(record: &LayerRecord) -> Option<Layer> {
    Some(Layer {
        name: LayerName::parse(&record.name)?,
        carries_root: record.carries_root,
    })
}
