//! Taking names from images, and images out of the store.

use std::collections::{BTreeSet, HashSet, VecDeque};

use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Platform, Reference};
use conex_snapshot::LayerName;
use sha2::{Digest as _, Sha256};

use crate::error::RemoveError;
use crate::find::{Named, resolve};
use crate::images::Images;
use crate::index::{Index, Stored};
use crate::names::{self, Meaning};
use crate::records::ImageRecord;
use crate::tag::encode;

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
    /// Which of the images under the name.
    pub which: Which<'a>,
    /// Go on despite several names and stopped containers.
    pub force: bool,
    /// Take the images along that it was made upon, where nothing else refers to them.
    pub prune: bool,
    /// Tells all containers that use images; asked when no image can come into use any more.
    pub users: &'a (dyn Fn() -> Vec<User> + Sync),
}

/// Which of the images that a name means are to be removed.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those that suit these platforms best; each has to be there.
    Platforms(&'a [Platform]),
    /// The one of this id.
    Image(&'a str),
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

/// What becomes of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    /// It stays.
    #[default]
    Stays,
    /// It goes for everybody but the stopped containers that were made of it.
    Retained,
    /// It goes with all that it has.
    Goes,
}

/// What a removal comes to.
#[derive(Default)]
struct Plan {
    id: String,
    /// Names to take from the image, complete.
    names: Vec<String>,
    /// What becomes of the image.
    fate: Fate,
    /// The image that it was made upon, where it goes.
    parent: Option<String>,
    /// Keys of the layers that go with it.
    layers: BTreeSet<String>,
    /// Blobs that go with it.
    blobs: Vec<Digest>,
    /// Diff ids that no other image has.
    diff_ids: Vec<String>,
    /// Chain ids and sizes of the layers that go, top-most first.
    chain_ids: Vec<(String, u64)>,
}

impl Images {
    /// Takes names from an image, and the image out of the store where nothing refers to it any more.
    pub async fn remove(&self, removal: Removal<'_>) -> Result<Vec<Removed>, RemoveError> {
        let changes = self.shared.changes.clone().lock_owned().await;
        let uses = self.shared.uses.clone().write_owned().await;
        let users = (removal.users)();
        let plans = plan(&self.shared.index(), &removal, &users)?;
        let (images, prune) = (self.clone(), removal.prune);
        // A caller that goes away must not part memory from disk.
        let removing = tokio::spawn(async move {
            let mut removed = Vec::new();
            let mut next = VecDeque::from(plans);
            while let Some(mut plan) = next.pop_front() {
                // What is left depends on what went before.
                plan.add_contents(&images.shared.index());
                let parent = plan.parent.clone().filter(|_| prune);
                removed.extend(images.carry_out(plan).await?);
                let parent = parent.and_then(|parent| unused_parent(&images.shared.index(), parent, &users));
                parent.into_iter().for_each(|parent| next.push_front(parent));
            }
            drop((uses, changes));
            Ok(removed)
        });
        removing.await.map_err(|_| RemoveError::CutOff)?
    }

    /// Removes what was retained for containers that are gone by now.
    ///
    /// # Errors
    /// The metadata cannot be changed; the next call tries again.
    pub async fn collect_retained(&self, users: &(dyn Fn() -> Vec<User> + Sync)) -> Result<(), RemoveError> {
        if self.shared.index().retained.is_empty() {
            return Ok(());
        }
        let changes = self.shared.changes.clone().lock_owned().await;
        let uses = self.shared.uses.clone().write_owned().await;
        let used: HashSet<String> = users().into_iter().map(|user| user.image).collect();
        let images = self.clone();
        let collecting = tokio::spawn(async move {
            let retained: Vec<String> = images.shared.index().retained.keys().cloned().collect();
            for id in retained.into_iter().filter(|id| !used.contains(id)) {
                let mut plan = Plan {
                    id,
                    fate: Fate::Goes,
                    ..Plan::default()
                };
                plan.add_contents(&images.shared.index());
                images.carry_out(plan).await?;
            }
            drop((uses, changes));
            Ok(())
        });
        collecting.await.map_err(|_| RemoveError::CutOff)?
    }

    async fn carry_out(&self, plan: Plan) -> Result<Vec<Removed>, RemoveError> {
        let removed = self.take_out(plan).await?;
        self.shared.layout.changed();
        Ok(removed)
    }

    async fn take_out(&self, plan: Plan) -> Result<Vec<Removed>, RemoveError> {
        let names = self.without(&plan);
        let mut changes = plan.deletions();
        for (name, _, left) in &names {
            changes = names::change(changes, name, left);
        }
        let retained = self.shared.index().images.get(&plan.id).map(|stored| ImageRecord {
            retained: true,
            ..stored.record.clone()
        });
        changes = match (plan.fate, &retained) {
            (Fate::Goes, _) => changes.delete(Table::Images, plan.id.as_str()),
            (Fate::Retained, Some(record)) => changes.put(Table::Images, plan.id.as_str(), encode(record)),
            _ => changes,
        };
        self.shared.metadata.commit(changes).await?;
        let mut removed = Vec::new();
        let mut index = self.shared.index();
        let mut blobs = plan.blobs.clone();
        for (name, target, left) in names {
            // A name that means other platforms still is nobody's loss.
            if left.images.is_empty() {
                blobs.extend(target);
                let familiar = Reference::parse(&name).map_or_else(|_| name.clone(), |name| name.familiar());
                removed.push(Removed::Untagged {
                    name: familiar,
                    image: plan.id.clone(),
                });
            }
            index.names.set(name, left);
        }
        if plan.fate == Fate::Stays {
            self.sweep(&index, &blobs);
            return Ok(removed);
        }
        let gone = index.images.remove(&plan.id);
        if let (Fate::Retained, Some(stored), Some(record)) = (plan.fate, gone, retained) {
            index.retained.insert(plan.id.clone(), Stored { record, ..stored });
        } else {
            index.retained.remove(&plan.id);
            index.damaged.remove(&plan.id);
        }
        for diff_id in &plan.diff_ids {
            index.origins.remove(diff_id);
        }
        self.sweep(&index, &blobs);
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

    /// The names that a plan takes from its image: what they came by, and what they mean without it.
    fn without(&self, plan: &Plan) -> Vec<(String, Option<Digest>, Meaning)> {
        let index = self.shared.index();
        let without = |name: &String| {
            let meaning = index.names.get(name)?;
            Some((name.clone(), meaning.target, meaning.without(&plan.id)))
        };
        plan.names.iter().filter_map(without).collect()
    }

    /// Removes those of these blobs that nothing refers to. Whoever calls it holds `Shared::changes`.
    pub(crate) fn sweep(&self, index: &Index, blobs: &[Digest]) {
        for blob in blobs.iter().filter(|blob| !index.has_blob(blob)) {
            if let Err(error) = self.shared.content.remove(blob) {
                tracing::warn!(%error, "a blob is left to the next start");
            }
        }
    }
}

impl Plan {
    /// Everything but the image's own record and its names.
    fn deletions(&self) -> Changes {
        let layers = self.layers.iter().map(|key| (Table::Layers, key));
        let origins = self.diff_ids.iter().map(|diff_id| (Table::Origins, diff_id));
        let all = layers.chain(origins);
        all.fold(Changes::new(), |changes, (table, key)| {
            changes.delete(table, key.as_str())
        })
    }

    /// Adds what goes with the image: its blobs, and the layers that only it has.
    fn add_contents(&mut self, index: &Index) {
        let stored = index.holders().find(|(id, _)| **id == self.id);
        let Some((_, stored)) = stored.filter(|_| self.fate != Fate::Stays) else {
            return;
        };
        self.parent.clone_from(&stored.record.parent);
        if self.fate == Fate::Retained {
            return;
        }
        self.blobs = stored.blobs.all().copied().collect();
        self.layers = unreferenced(index, &self.id);
        self.diff_ids = own_diff_ids(index, &self.id);
        let chain_ids = chain_ids(&stored.config.rootfs.diff_ids);
        let layers = stored.record.layers.iter().zip(chain_ids).rev();
        self.chain_ids = layers
            .filter(|(key, _)| self.layers.contains(*key))
            .map(|(key, chain_id)| (chain_id, index.layers.get(key).map_or(0, |layer| layer.size)))
            .collect();
    }
}

/// What a removal comes to: a plan for each image that the name means, the one that runs here last.
fn plan(index: &Index, removal: &Removal<'_>, users: &[User]) -> Result<Vec<Plan>, RemoveError> {
    let named = resolve(index, removal.name)?;
    let preferred = named.chosen(index, removal.name, None)?;
    let mut chosen = match removal.which {
        Which::All => named.meaning(index).images,
        Which::Platforms(platforms) => {
            let chosen = platforms
                .iter()
                .map(|platform| named.chosen(index, removal.name, Some(platform)));
            chosen.collect::<Result<_, _>>()?
        }
        Which::Image(id) => vec![id.to_owned()],
    };
    chosen.sort_by_key(|id| (*id == preferred, id.clone()));
    chosen.dedup();
    let plan_of = |id: String| {
        let names: Vec<String> = index.names.of_image(&id).cloned().collect();
        let mut users = users.iter().filter(|user| user.image == id);
        let used = users.clone().find(|user| user.running).or_else(|| users.next());
        match &named {
            Named::Name(name) => plan_by_name(index, removal, id, name, &names, used),
            Named::Id(_) if index.has_children(&id) => Err(RemoveError::Children { image: short(&id) }),
            Named::Id(_) => plan_by_id(removal, id, names, used),
        }
    };
    chosen.into_iter().map(plan_of).collect()
}

fn plan_by_name(
    index: &Index,
    removal: &Removal<'_>,
    id: String,
    reference: &Reference,
    names: &[String],
    used: Option<&User>,
) -> Result<Plan, RemoveError> {
    if let Some(user) = used.filter(|_| is_single(names) && !removal.force) {
        return Err(RemoveError::Referenced {
            // As it was asked for, with or without a tag.
            name: removal.name.to_owned(),
            container: short(&user.container),
            image: short(&id),
        });
    }
    let name = reference.to_string();
    // With its last tag a repository's digests go as well.
    let of_repository = |other: &&String| Reference::parse(other).is_ok_and(|other| other.name() == reference.name());
    let mut tags_left = names.iter().filter(|other| **other != name && !other.contains('@'));
    let last_of_repository = !tags_left.any(|other| of_repository(&other));
    let goes = |other: &&String| **other == name || last_of_repository && of_repository(other);
    let taken: Vec<String> = names.iter().filter(goes).cloned().collect();
    // What others were made upon stays for them, without a name.
    let delete = taken.len() == names.len() && !index.has_children(&id);
    Ok(Plan {
        id,
        names: sorted_first(taken, &name),
        fate: match used {
            _ if !delete => Fate::Stays,
            // What runs keeps its image, without a name.
            Some(user) if user.running => Fate::Stays,
            Some(_) => Fate::Retained,
            None => Fate::Goes,
        },
        ..Plan::default()
    })
}

/// The same names, this one first.
fn sorted_first(mut names: Vec<String>, first: &str) -> Vec<String> {
    names.sort_by_key(|name| name != first);
    names
}

fn plan_by_id(removal: &Removal<'_>, id: String, names: Vec<String>, used: Option<&User>) -> Result<Plan, RemoveError> {
    if let Some(user) = used.filter(|user| user.running) {
        return Err(RemoveError::Running {
            image: short(&id),
            container: short(&user.container),
        });
    }
    if !names.is_empty() && !is_single(&names) && !removal.force {
        return Err(RemoveError::SeveralNames { image: short(&id) });
    }
    match used {
        Some(user) if !removal.force => Err(RemoveError::Stopped {
            image: short(&id),
            container: short(&user.container),
        }),
        _ => Ok(Plan {
            id,
            names,
            fate: if used.is_some() { Fate::Retained } else { Fate::Goes },
            ..Plan::default()
        }),
    }
}

/// Whether names are those of one repository, with one tag at the most, so that an id says which of them is meant.
fn is_single(names: &[String]) -> bool {
    let parsed = names.iter().filter_map(|name| Reference::parse(name).ok());
    let (mut repositories, mut tags) = (BTreeSet::new(), 0);
    for name in parsed {
        tags += usize::from(name.digest().is_none());
        repositories.insert(name.name());
    }
    repositories.len() == 1 && tags <= 1
}

/// The removal of an image that another, which is gone, was made upon; `None` where something refers to it still.
fn unused_parent(index: &Index, id: String, users: &[User]) -> Option<Plan> {
    let referred = index.names.of_image(&id).next().is_some()
        || index.has_children(&id)
        || users.iter().any(|user| user.image == id);
    if referred || !index.images.contains_key(&id) {
        return None;
    }
    let mut plan = Plan {
        id,
        fate: Fate::Goes,
        ..Plan::default()
    };
    plan.add_contents(index);
    Some(plan)
}

/// The first twelve digits of an id.
fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

/// Layers that only this image has and that no pull relies on.
fn unreferenced(index: &Index, id: &str) -> BTreeSet<String> {
    let (own, others): (Vec<_>, Vec<_>) = index.holders().partition(|(holder, _)| *holder == id);
    let others: HashSet<&String> = others.iter().flat_map(|(_, stored)| &stored.record.layers).collect();
    let own = own.into_iter().flat_map(|(_, stored)| &stored.record.layers);
    own.filter(|key| !others.contains(key) && !index.leases.contains_key(*key))
        .cloned()
        .collect()
}

/// Diff ids that only this image has.
fn own_diff_ids(index: &Index, id: &str) -> Vec<String> {
    let (own, others): (Vec<_>, Vec<_>) = index.holders().partition(|(holder, _)| *holder == id);
    let diff_ids = |(_, stored): &(&String, &'_ Stored)| stored.config.rootfs.diff_ids.clone();
    let others: HashSet<String> = others.iter().flat_map(diff_ids).collect();
    let own = own.iter().flat_map(diff_ids);
    own.filter(|diff_id| !others.contains(diff_id)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_the_names_of_one_repository_with_one_tag() {
        let digest = |digit: &str| format!("docker.io/library/a@sha256:{}", digit.repeat(64));
        let tag = |tag: &str| format!("docker.io/library/{tag}");
        assert!(is_single(&[tag("a:1")]));
        assert!(is_single(&[tag("a:1"), digest("1"), digest("2")]));
        assert!(is_single(&[digest("1"), digest("2")]));
        assert!(!is_single(&[tag("a:1"), tag("a:2")]));
        assert!(!is_single(&[tag("a:1"), tag("b:1")]));
        assert!(!is_single(&[tag("b:1"), digest("1")]));
        assert!(!is_single(&[]));
    }
}
