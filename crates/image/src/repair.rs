//! Making right what a check found, from what is kept here or from registries that had it.

use std::collections::BTreeSet;
use std::sync::Arc;

use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Reference};
use conex_registry::{Descriptor, Manifest, Registry, manifest};
use conex_snapshot::LayerName;
use futures_util::{StreamExt, TryStreamExt};

use crate::check::{Fault, Finding};
use crate::collect::{make_manifest, unreferenced_blobs};
use crate::error::LayerError;
use crate::held::Held;
use crate::images::Images;
use crate::index::{Stored, layer};
use crate::layers::{self, Wanted};
use crate::layout::{layers_of, uncompressed};
use crate::lease::BlobLease;
use crate::load::file_stream;
use crate::names;
use crate::progress::ProgressSink;
use crate::remove::User;
use crate::tag::encode;

/// Tells all containers that use images.
pub type Users<'a> = &'a (dyn Fn() -> Vec<User> + Sync);

/// What was done, or why nothing could be.
pub type Repaired = Result<String, String>;

/// A layer's blob where somebody may have it.
struct Source {
    blob: Descriptor,
    repository: Option<Reference>,
}

impl Images {
    /// Makes right what was found, where that can be: nothing is taken from a container that runs.
    pub async fn repair(&self, finding: &Finding, registry: &Arc<dyn Registry>, users: Users<'_>) -> Repaired {
        match &finding.fault {
            Fault::Layout => self.repair_layout().await,
            Fault::Document { image, digest } => self.repair_document(image, digest, registry).await,
            Fault::LayerBlob { digest, size } => self.repair_layer_blob(digest, *size, registry).await,
            Fault::Unreferenced(digest) => self.remove_unreferenced(digest).await,
            Fault::Stray(path) => self
                .shared
                .content
                .remove_stray(path)
                .map(|()| removed())
                .map_err(words),
            Fault::Layer(key) => self.repair_layer(key, registry, users).await,
            Fault::UnrecordedLayer(name) => self.remove_unrecorded(name).await,
            Fault::Name { name, image } => self.remove_name(name, image).await,
            Fault::Target { name, digest } => self.repair_target(name, digest, registry).await,
            Fault::Record => Err("remove the image and pull or load it again".to_owned()),
        }
    }

    async fn repair_layout(&self) -> Repaired {
        self.shared.content.mark_layout().map_err(words)?;
        self.shared.layout.changed();
        let images = self.clone();
        on_blocking(move || images.settle_layout()).await?;
        Ok("written again".to_owned())
    }

    async fn remove_unreferenced(&self, digest: &Digest) -> Repaired {
        let _changes = self.shared.changes.lock().await;
        let shared = &self.shared;
        let found = unreferenced_blobs(&shared.content, &shared.index(), shared.settings.keep).map_err(words)?;
        if found.contains(digest) {
            shared.content.remove(digest).map_err(words)?;
        }
        Ok(removed())
    }

    async fn remove_unrecorded(&self, name: &str) -> Repaired {
        let _changes = self.shared.changes.lock().await;
        if self
            .unrecorded_layers()
            .map_err(words)?
            .iter()
            .any(|found| found == name)
        {
            self.shared.snapshots.discard_named(name).map_err(words)?;
        }
        Ok(removed())
    }

    async fn remove_name(&self, name: &str, image: &str) -> Repaired {
        let _changes = self.shared.changes.lock().await;
        let meaning = self
            .shared
            .index()
            .names
            .get(name)
            .map(|meaning| meaning.without(image));
        let meaning = meaning.ok_or_else(gone)?;
        let changes = names::change(Changes::new(), name, &meaning);
        self.shared.metadata.commit(changes).await.map_err(words)?;
        self.name(&mut self.shared.index(), vec![(name.to_owned(), meaning)]);
        Ok(removed())
    }

    /// The index that a name came by.
    async fn repair_target(&self, name: &str, digest: &Digest, registry: &Arc<dyn Registry>) -> Repaired {
        let repository = Reference::parse(name).map_err(words)?.without_tag_and_digest();
        let reference = repository.with_digest(*digest);
        let fetched = registry.manifest(&reference).await.map_err(words)?;
        if Digest::of(&fetched.bytes) != *digest {
            return Err(format!("{} has something else", reference.name()));
        }
        self.put_again(*digest, fetched.bytes.to_vec()).await?;
        Ok("fetched again".to_owned())
    }

    async fn repair_document(&self, id: &str, digest: &Digest, registry: &Arc<dyn Registry>) -> Repaired {
        let stored = self.stored(id).ok_or_else(gone)?;
        if stored.record.layout.as_deref() == Some(digest.to_string().as_str()) {
            let images = self.clone();
            let (of, id, digest) = (stored.clone(), id.to_owned(), *digest);
            let made = on_blocking(move || {
                let shared = &images.shared;
                let made = make_manifest(&shared.content, &shared.snapshots, &shared.index(), &id, &of);
                made.filter(|bytes| Digest::of(bytes) == digest)
            });
            let made = made.await?.ok_or("what it is made of is damaged too")?;
            self.put_again(digest, made).await?;
            return Ok("made again".to_owned());
        }
        // What was made here is written as it was then.
        let written = serde_json::to_vec(&*stored.config).unwrap_or_default();
        if Digest::of(&written) == *digest {
            self.put_again(*digest, written).await?;
            return Ok("written again".to_owned());
        }
        let bytes = self.fetch_document(id, &stored, digest, registry).await?;
        self.put_again(*digest, bytes).await?;
        if digest.to_string() == id {
            self.heal(id).await?;
        }
        Ok("fetched again".to_owned())
    }

    /// An image whose configuration is right again is found again.
    async fn heal(&self, id: &str) -> Result<(), String> {
        let _changes = self.shared.changes.lock().await;
        let Some(stored) = self.shared.index().damaged.get(id).cloned() else {
            return Ok(());
        };
        let config = Digest::parse(id).map_err(words)?;
        let bytes = self.shared.content.read(&config).map_err(words)?;
        let config = Arc::new(serde_json::from_slice(&bytes).map_err(words)?);
        let mut index = self.shared.index();
        index.damaged.remove(id);
        let images = if stored.record.retained {
            &mut index.retained
        } else {
            &mut index.images
        };
        images.insert(id.to_owned(), Stored { config, ..stored });
        drop(index);
        self.shared.layout.changed();
        Ok(())
    }

    async fn fetch_document(
        &self,
        id: &str,
        stored: &Stored,
        digest: &Digest,
        registry: &Arc<dyn Registry>,
    ) -> Result<Vec<u8>, String> {
        let repositories = self.repositories(id, stored);
        if repositories.is_empty() {
            return Err(nobody());
        }
        let mut reason = nobody();
        for repository in repositories {
            let is_config = digest.to_string() == id;
            let fetched = if is_config {
                fetch_blob(registry, &repository, digest, self.config_size(stored)).await
            } else {
                let reference = repository.clone().with_digest(*digest);
                registry
                    .manifest(&reference)
                    .await
                    .map(|fetched| fetched.bytes.to_vec())
                    .map_err(words)
            };
            match fetched {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(bytes),
                Ok(_) => reason = format!("{} has something else", repository.name()),
                Err(error) => reason = format!("{}: {error}", repository.name()),
            }
        }
        Err(reason)
    }

    async fn put_again(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), String> {
        let content = self.shared.content.clone();
        let _changes = self.shared.changes.lock().await;
        on_blocking(move || {
            content.remove(&digest)?;
            content.put(&bytes)
        })
        .await?
        .map_err(words)?;
        self.shared.layout.changed();
        Ok(())
    }

    async fn repair_layer_blob(&self, digest: &Digest, size: u64, registry: &Arc<dyn Registry>) -> Repaired {
        self.shared.content.remove(digest).map_err(words)?;
        let made = self.layer_of_diff_id(digest);
        if let Some(found) = made {
            let (images, digest) = (self.clone(), *digest);
            on_blocking(move || images.write_layer_blob(&digest, &found))
                .await?
                .map_err(words)?;
            return Ok("written again from its files".to_owned());
        }
        let origins: Vec<Reference> = {
            let index = self.shared.index();
            let all = index.origins.values().flat_map(|record| &record.origins);
            let having = all.filter(|origin| origin.digest == *digest);
            having
                .filter_map(|origin| Reference::parse(&origin.repository).ok())
                .collect()
        };
        let mut reason = nobody();
        for repository in origins {
            let blob = Descriptor {
                media_type: String::new(),
                digest: *digest,
                size,
            };
            match self.fetch_into_store(registry, &repository, &blob).await {
                Ok(()) => return Ok(format!("fetched again from {}", repository.name())),
                Err(error) => reason = format!("{}: {error}", repository.name()),
            }
        }
        Err(format!("removed, as {reason}"))
    }

    async fn fetch_into_store(
        &self,
        registry: &Arc<dyn Registry>,
        repository: &Reference,
        blob: &Descriptor,
    ) -> Result<(), String> {
        let mut stream = registry.blob(repository, blob, 0).await.map_err(words)?.stream;
        let mut ingest = self.shared.content.ingest().map_err(words)?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(words)?;
            ingest = on_blocking(move || ingest.append(&chunk).map(|()| ingest))
                .await?
                .map_err(words)?;
        }
        let digest = blob.digest;
        on_blocking(move || ingest.commit(Some(&digest)))
            .await?
            .map_err(words)?;
        Ok(())
    }

    /// Brings a layer in anew and puts it in the place of the one that is damaged.
    async fn repair_layer(&self, key: &str, registry: &Arc<dyn Registry>, users: Users<'_>) -> Repaired {
        let found = {
            let index = self.shared.index();
            let mut holders = index
                .holders()
                .filter(|(_, stored)| stored.record.layers.iter().any(|other| other == key));
            holders.next().map(|(_, stored)| stored.clone())
        };
        let stored = found.ok_or_else(gone)?;
        if let Some(container) = self.runs_on(key, users) {
            return Err(format!("container {container} runs on it; stop it and repair again"));
        }
        let at = stored
            .record
            .layers
            .iter()
            .position(|other| other == key)
            .ok_or_else(gone)?;
        let sources = self.sources(&stored, at);
        if sources.is_empty() {
            return Err(nobody());
        }
        self.shared.index().lost.insert(key.to_owned());
        let mut reason = nobody();
        for source in sources {
            match self.bring_in_anew(&stored, at, &source, registry).await {
                Ok(held) => {
                    let replaced = self.replace(key, held, users).await;
                    self.shared.index().lost.remove(key);
                    let from = source
                        .repository
                        .map_or_else(|| "what is kept".to_owned(), |from| from.name());
                    return replaced.map(|()| format!("unpacked again from {from}"));
                }
                Err(error) => reason = error,
            }
        }
        self.shared.index().lost.remove(key);
        Err(reason)
    }

    async fn bring_in_anew(
        &self,
        stored: &Stored,
        at: usize,
        source: &Source,
        registry: &Arc<dyn Registry>,
    ) -> Result<Vec<Held>, String> {
        let diff_ids = &stored.config.rootfs.diff_ids;
        let mut wanted = Vec::new();
        for (position, diff_id) in diff_ids.iter().enumerate() {
            wanted.push(if position == at {
                self.wanted_anew(diff_id, source, registry)
            } else {
                untouched(diff_id)
            });
        }
        let sink: ProgressSink = Arc::new(|_| {});
        let lease = BlobLease::new(&self.shared, vec![source.blob.digest]);
        let brought_in = self.bring_in(wanted, &sink).await;
        if brought_in.is_ok() {
            self.keep_arrived(&[source.blob.digest]).await.map_err(words)?;
        }
        self.forget_transfers(&lease).await;
        brought_in.map_err(words)
    }

    fn wanted_anew(&self, diff_id: &str, source: &Source, registry: &Arc<dyn Registry>) -> Wanted {
        let (blob, registry, content) = (source.blob.clone(), registry.clone(), self.shared.content.clone());
        let repository = source.repository.clone();
        Wanted {
            short: blob.digest.short(),
            blob: Some(blob.digest),
            size: blob.size,
            diff_id: diff_id.to_owned(),
            local: false,
            source: layers::Source::Blob(Box::new(move |offset| {
                let (blob, registry, content) = (blob.clone(), registry.clone(), content.clone());
                let repository = repository.clone();
                Box::pin(async move {
                    let Some(repository) = repository else {
                        let digest = blob.digest;
                        return Ok(file_stream(move || {
                            content.open_blob(&digest).map_err(std::io::Error::other)
                        }));
                    };
                    let blob = registry.blob(&repository, &blob, offset).await?;
                    Ok(blob.stream.map_err(LayerError::from).boxed())
                })
            })),
        }
    }

    /// Records what was brought in, and discards what was there.
    async fn replace(&self, key: &str, held: Vec<Held>, users: Users<'_>) -> Result<(), String> {
        let Some(fresh) = held.iter().find(|held| held.key == key && held.is_fresh) else {
            return Err("it was brought in by another pull meanwhile; check again".to_owned());
        };
        let snapshots = self.shared.snapshots.clone();
        on_blocking(move || snapshots.sync()).await?.map_err(words)?;
        let _changes = self.shared.changes.lock().await;
        // Nobody takes it into use from here on.
        let _uses = self.shared.uses.write().await;
        if let Some(container) = self.runs_on(key, users) {
            return Err(format!("container {container} runs on it; stop it and repair again"));
        }
        let changes = Changes::new().put(Table::Layers, key, encode(&fresh.record));
        self.shared.metadata.commit(changes).await.map_err(words)?;
        let old = self.shared.index().layers.insert(key.to_owned(), fresh.record.clone());
        self.shared.forget_lost(old, &fresh.record);
        Ok(())
    }

    /// A container that runs on a layer whose directory is there.
    fn runs_on(&self, key: &str, users: Users<'_>) -> Option<String> {
        let running = users().into_iter().filter(|user| user.running);
        let index = self.shared.index();
        let name = LayerName::parse(&index.layers.get(key)?.name)?;
        if !self.shared.snapshots.contains(&name) {
            return None;
        }
        let has_layer = |id: &String| {
            let mut holders = index.holders().filter(|(holder, _)| *holder == id);
            holders.any(|(_, stored)| stored.record.layers.iter().any(|other| other == key))
        };
        let mut running = running.filter(|user| has_layer(&user.image));
        running.next().map(|user| user.container.chars().take(12).collect())
    }

    /// Where a layer's blob may be had: what is kept first.
    fn sources(&self, stored: &Stored, at: usize) -> Vec<Source> {
        let Some(diff_id) = stored.config.rootfs.diff_ids.get(at) else {
            return Vec::new();
        };
        let content = &self.shared.content;
        let own = stored.record.own().and_then(|digest| content.read(&digest).ok());
        let own = own
            .and_then(|bytes| layers_of(&bytes))
            .and_then(|layers| layers.get(at).cloned());
        let plain = Digest::parse(diff_id)
            .ok()
            .and_then(|digest| Some(uncompressed(digest, content.size(&digest).ok()?)));
        let origins = self.origins_of(diff_id).into_iter().filter_map(|origin| {
            let repository = Some(Reference::parse(&origin.repository).ok()?);
            let blob = Descriptor {
                media_type: origin.media_type,
                digest: origin.digest,
                size: origin.size,
            };
            Some(Source { blob, repository })
        });
        let origins: Vec<Source> = origins.collect();
        let known = [own, plain].into_iter().flatten();
        let known = known.chain(origins.iter().map(|origin| origin.blob.clone()));
        let kept = known.filter(|blob| content.contains(&blob.digest));
        let kept = kept.map(|blob| Source { blob, repository: None });
        kept.collect::<Vec<_>>().into_iter().chain(origins).collect()
    }

    /// Repositories that may have an image: those of its names and those of its layers.
    fn repositories(&self, id: &str, stored: &Stored) -> Vec<Reference> {
        let index = self.shared.index();
        let names = index.names.of_image(id).cloned();
        let blobs: BTreeSet<&Digest> = stored.blobs.layers.iter().map(|(digest, _)| digest).collect();
        let origins = index.origins.values().flat_map(|record| &record.origins);
        let origins = origins
            .filter(|origin| blobs.contains(&origin.digest))
            .map(|origin| origin.repository.clone());
        let all: BTreeSet<String> = names
            .chain(origins)
            .filter_map(|name| Some(Reference::parse(&name).ok()?.name()))
            .collect();
        all.iter().filter_map(|name| Reference::parse(name).ok()).collect()
    }

    /// Bytes of an image's configuration, as its manifests say.
    fn config_size(&self, stored: &Stored) -> Option<u64> {
        let mut manifests = stored.record.manifests();
        manifests.find_map(|digest| {
            let bytes = self
                .shared
                .content
                .read(&digest)
                .ok()
                .filter(|bytes| Digest::of(bytes) == digest)?;
            match manifest::parse("", &bytes).ok()? {
                Manifest::Image { config, .. } => Some(config.size),
                Manifest::Index(_) => None,
            }
        })
    }

    fn stored(&self, id: &str) -> Option<Stored> {
        let index = self.shared.index();
        let mut holders = index.holders().filter(|(holder, _)| *holder == id);
        holders.next().map(|(_, stored)| stored.clone())
    }

    /// A layer that is there, by the digest of its archive.
    fn layer_of_diff_id(&self, diff_id: &Digest) -> Option<conex_snapshot::Layer> {
        let (index, diff_id) = (self.shared.index(), diff_id.to_string());
        let mut pairs = index
            .holders()
            .flat_map(|(_, stored)| stored.record.layers.iter().zip(&stored.config.rootfs.diff_ids));
        let (key, _) = pairs.find(|(_, other)| **other == diff_id)?;
        layer(index.layers.get(key)?)
    }
}

/// A layer that is there, and is asked of nobody.
fn untouched(diff_id: &str) -> Wanted {
    Wanted {
        short: String::new(),
        blob: None,
        size: 0,
        diff_id: diff_id.to_owned(),
        local: false,
        source: layers::Source::Nowhere,
    }
}

/// A configuration, whose size may not be known any more.
async fn fetch_blob(
    registry: &Arc<dyn Registry>,
    repository: &Reference,
    digest: &Digest,
    size: Option<u64>,
) -> Result<Vec<u8>, String> {
    let blob = Descriptor {
        media_type: String::new(),
        digest: *digest,
        size: size.unwrap_or(LARGEST_CONFIG),
    };
    let mut stream = registry.blob(repository, &blob, 0).await.map_err(words)?.stream;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            // It ends before the bound, which is no fault where it is what it should be.
            Err(_) if Digest::of(&bytes) == *digest => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(bytes)
}

/// Largest configuration that is read.
const LARGEST_CONFIG: u64 = 8 << 20;

fn removed() -> String {
    "removed".to_owned()
}

fn nobody() -> String {
    "nobody is known to have it; remove the image and pull or load it again".to_owned()
}

fn gone() -> String {
    "it is gone by now".to_owned()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn on_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(words)
}
