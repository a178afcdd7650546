//! `POST /images/prune`.

use std::collections::HashSet;
use std::sync::Arc;

use conex_api_types as api;
use conex_image::{Image, Removed, Which};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::requests::Timestamp;

impl Engine {
    /// Removes the images without a tag, or with `dangling=false` all that no container has, which were made before `until`
    /// and are meant by the filters (`label`, `label!`).
    ///
    /// # Errors
    /// 400 for a filter that there is none of, 409 where another prune is under way.
    pub async fn prune_images(&self, filters: &api::Filters, until: Option<Timestamp>) -> Result<api::ImagesPruned> {
        let invalid = |error: api::FiltersError| Error::new(ErrorKind::InvalidParameter, error.to_string());
        filters
            .require_known(&["dangling", "label", "label!", "until"])
            .map_err(invalid)?;
        let dangling_only = filters.truth("dangling").map_err(invalid)?.unwrap_or(true);
        let until = until.and_then(Timestamp::to_jiff);
        let Ok(_only) = self.inner.pruning_images.try_lock() else {
            return Err(Error::new(ErrorKind::Conflict, "a prune operation is already running"));
        };
        let images = self.inner.images.list();
        let parents: HashSet<&str> = images.iter().filter_map(|image| image.parent.as_deref()).collect();
        let meant = images.iter().filter(|image| {
            let young = until.is_some_and(|until| {
                let created = image.config.created.parse::<jiff::Timestamp>();
                created.is_ok_and(|created| created > until)
            });
            let has_children = parents.contains(image.id.as_str());
            !young
                && !(dangling_only && (has_children || !image.repo_tags.is_empty()))
                && matching::labels(&image.config.config.labels, filters)
        });
        let mut pruned = api::ImagesPruned::default();
        match self.inner.images.forget_broken_transfers().await {
            Ok(freed) => pruned.space_reclaimed += freed,
            Err(error) => tracing::warn!(%error, "discard what came of pulls that broke off"),
        }
        for image in meant {
            self.prune_image(image, &mut pruned).await;
        }
        self.inner.events.pruned("image", pruned.space_reclaimed);
        Ok(pruned)
    }

    /// Removes an image by all its names. One that is in use by now is none that was asked for.
    async fn prune_image(&self, image: &Arc<Image>, pruned: &mut api::ImagesPruned) {
        let names: Vec<&String> = image.repo_tags.iter().chain(&image.repo_digests).collect();
        let names = if names.is_empty() { vec![&image.id] } else { names };
        for name in names {
            let Ok(removed) = self.take_image(name, Which::Image(&image.id), false, true).await else {
                continue;
            };
            for removed in removed {
                if let Removed::DeletedLayer { size, .. } = &removed {
                    pruned.space_reclaimed += size;
                }
                let deleted = pruned.images_deleted.get_or_insert_default();
                deleted.push(self.removed(removed, Some(image)));
            }
        }
    }
}
