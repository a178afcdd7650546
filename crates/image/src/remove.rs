//! Taking names from images, and images out of the store.

use std::collections::{BTreeSet, HashSet};

use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Reference};
use conex_snapshot::LayerName;
use sha2::{Digest as _, Sha256};

use crate::error::RemoveError;
use crate::find::{Named, resolve};
use crate::images::Images;
use crate::index::Index;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The container's id.
    pub container: String,
    /// The image's id.
    pub image: String,
    /// Whether the container runs.
    pub running: bool,
}

/// What is to be removed.
#[derive(Clone, Copy)]
pub struct Removal<'a> {
    /// Name, id or prefix of an id, as the client typed it.
    pub name: &'a str,
    /// Go on despite several names and stopped containers.
    pub force: bool,
    /// Take the images along that it was made upon, where nothing else refers to them.
    pub prune: bool,
    /// Tells all containers that use images; asked when no image can come into use any more.
    pub users: &'a (dyn Fn() -> Vec<User> + Sync),
}

/// One thing that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, familiar (`busybox:latest`), with the id of its image.
    Untagged {
        /// The name.
        name: String,
        /// The image that had it.
        image: String,
    },
    /// An image (`sha256:...`).
    DeletedImage(String),
    /// A layer.
    DeletedLayer {
        /// Its chain id.
        id: String,
        /// Bytes of its files.
        size: u64,
    },
}

/// What a removal comes to.
#[derive(Default)]
struct Plan {
    id: String,
    /// Names to take, complete.
    names: Vec<String>,
    /// Whether the image goes as well.
    delete: bool,
    /// The image that it was made upon, where it goes.
    parent: Option<String>,
    /// Keys of the layers that go with it.
    layers: BTreeSet<String>,
    /// Blobs that go with it.
    blobs: Vec<Digest>,
    /// Chain ids and sizes of the layers that go, top-most first.
    chain_ids: Vec<(String, u64)>,
}

impl Images {
    /// Takes names from an image, and the image out of the store where nothing refers to it any more.
    pub async fn remove(&self, removal: Removal<'_>) -> Result<Vec<Removed>, RemoveError> {
        let changes = self.shared.changes.clone().lock_owned().await;
        let uses = self.shared.uses.clone().write_owned().await;
        let users = (removal.users)();
        let mut plan = plan(&self.shared.index(), &removal, &users)?;
        plan.add_contents(&self.shared.index());
        let (images, prune) = (self.clone(), removal.prune);
        // A caller that goes away must not part memory from disk.
        let removing = tokio::spawn(async move {
            let mut removed = Vec::new();
            let mut next = Some(plan);
            while let Some(plan) = next {
                let parent = plan.parent.clone().filter(|_| prune);
                removed.extend(images.carry_out(plan).await?);
                next = parent.and_then(|parent| unused_parent(&images.shared.index(), parent, &users));
            }
            drop((uses, changes));
            Ok(removed)
        });
        removing.await.map_err(|_| RemoveError::CutOff)?
    }

    async fn carry_out(&self, plan: Plan) -> Result<Vec<Removed>, RemoveError> {
        let mut changes = Changes::new();
        for name in &plan.names {
            changes = changes.delete(Table::Tags, name.as_str());
        }
        if plan.delete {
            changes = changes.delete(Table::Images, plan.id.as_str());
        }
        for key in &plan.layers {
            changes = changes.delete(Table::Layers, key.as_str());
        }
        self.shared.metadata.commit(changes).await?;
        let mut removed = Vec::new();
        let mut index = self.shared.index();
        for name in &plan.names {
            index.tags.remove(name);
            let familiar = Reference::parse(name).map_or_else(|_| name.clone(), |name| name.familiar());
            removed.push(Removed::Untagged {
                name: familiar,
                image: plan.id.clone(),
            });
        }
        if !plan.delete {
            return Ok(removed);
        }
        index.images.remove(&plan.id);
        for blob in &plan.blobs {
            if let Err(error) = self.shared.content.remove(blob) {
                tracing::warn!(%error, "a blob is left to the next start");
            }
        }
        for key in &plan.layers {
            let record = index.layers.remove(key);
            if let Some(name) = record.and_then(|record| LayerName::parse(&record.name))
                && let Err(error) = self.shared.snapshots.remove(&name)
            {
                tracing::warn!(%error, "a layer is left to the next start");
            }
        }
        removed.push(Removed::DeletedImage(plan.id));
        let layers = plan.chain_ids.into_iter();
        removed.extend(layers.map(|(id, size)| Removed::DeletedLayer { id, size }));
        Ok(removed)
    }
}

impl Plan {
    /// Adds what goes with the image: its blobs, and the layers that only it has.
    fn add_contents(&mut self, index: &Index) {
        let Some(stored) = index.images.get(&self.id).filter(|_| self.delete) else {
            return;
        };
        self.parent.clone_from(&stored.record.parent);
        self.blobs = [Some(&self.id), stored.record.manifest.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|text| Digest::parse(text).ok())
            .collect();
        self.layers = unreferenced(index, &self.id);
        let chain_ids = chain_ids(&stored.config.rootfs.diff_ids);
        let layers = stored.record.layers.iter().zip(chain_ids).rev();
        self.chain_ids = layers
            .filter(|(key, _)| self.layers.contains(*key))
            .map(|(key, chain_id)| (chain_id, index.layers.get(key).map_or(0, |layer| layer.size)))
            .collect();
    }
}

fn plan(index: &Index, removal: &Removal<'_>, users: &[User]) -> Result<Plan, RemoveError> {
    let (id, named) = resolve(index, removal.name)?;
    let names: Vec<String> = index
        .tags
        .iter()
        .filter(|(_, image)| **image == id)
        .map(|(name, _)| name.clone())
        .collect();
    let used = users.iter().find(|user| user.image == id);
    match named {
        Named::Reference(reference) => {
            let name = reference.to_string();
            // With its last tag a repository's digests go as well.
            let of_repository =
                |other: &&String| Reference::parse(other).is_ok_and(|other| other.name() == reference.name());
            let tags_left = names.iter().filter(|other| **other != name && !other.contains('@'));
            let last_of_repository = tags_left.clone().filter(of_repository).count() == 0;
            let mut taken = vec![name.clone()];
            if last_of_repository {
                taken.extend(
                    names
                        .iter()
                        .filter(of_repository)
                        .filter(|other| **other != name)
                        .cloned(),
                );
            }
            // What others were made upon stays for them, without a name.
            let delete = names.iter().all(|other| taken.contains(other)) && !index.has_children(&id);
            match used {
                Some(user) if delete && !removal.force => Err(RemoveError::Referenced {
                    // As it was asked for, with or without a tag.
                    name: removal.name.to_owned(),
                    container: short(&user.container),
                    image: short(&id),
                }),
                // Forced: the name goes, the layers stay for the containers.
                Some(_) => Ok(Plan {
                    id,
                    names: taken,
                    delete: false,
                    ..Plan::default()
                }),
                None => Ok(Plan {
                    id,
                    names: taken,
                    delete,
                    ..Plan::default()
                }),
            }
        }
        Named::Id if index.has_children(&id) => Err(RemoveError::Children { image: short(&id) }),
        Named::Id => {
            let running = users.iter().find(|user| user.image == id && user.running);
            plan_by_id(removal, id, names, running.or(used))
        }
    }
}

fn plan_by_id(removal: &Removal<'_>, id: String, names: Vec<String>, used: Option<&User>) -> Result<Plan, RemoveError> {
    if let Some(user) = used.filter(|user| user.running) {
        return Err(RemoveError::Running {
            image: short(&id),
            container: short(&user.container),
        });
    }
    let repositories: BTreeSet<String> = names
        .iter()
        .filter_map(|name| Some(Reference::parse(name).ok()?.name()))
        .collect();
    if repositories.len() > 1 && !removal.force {
        return Err(RemoveError::SeveralNames { image: short(&id) });
    }
    match used {
        Some(user) if !removal.force => Err(RemoveError::Stopped {
            image: short(&id),
            container: short(&user.container),
        }),
        Some(_) => Ok(Plan {
            id,
            names,
            delete: false,
            ..Plan::default()
        }),
        None => Ok(Plan {
            id,
            names,
            delete: true,
            ..Plan::default()
        }),
    }
}

/// The removal of an image that another, which is gone, was made upon; `None` where something refers to it still.
fn unused_parent(index: &Index, id: String, users: &[User]) -> Option<Plan> {
    let referred = index.tags.values().any(|image| *image == id)
        || index.has_children(&id)
        || users.iter().any(|user| user.image == id);
    let mut plan = Plan {
        id,
        delete: !referred,
        ..Plan::default()
    };
    plan.add_contents(index);
    (plan.delete && index.images.contains_key(&plan.id)).then_some(plan)
}

/// The first twelve digits of an id.
fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

/// Layers that only this image has and that no pull relies on.
fn unreferenced(index: &Index, id: &str) -> BTreeSet<String> {
    let others: HashSet<&String> = index
        .images
        .iter()
        .filter(|(other, _)| *other != id)
        .flat_map(|(_, stored)| &stored.record.layers)
        .collect();
    let own = index
        .images
        .get(id)
        .into_iter()
        .flat_map(|stored| &stored.record.layers);
    own.filter(|key| !others.contains(key) && !index.leases.contains_key(*key))
        .cloned()
        .collect()
}

/// Chain ids, lowest first (OCI image specification, "Layer ChainID").
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let hash = Sha256::digest(format!("{below} {diff_id}").as_bytes());
                format!(
                    "sha256:{}",
                    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                )
            }
        };
        chain.push(next);
    }
    chain
}
