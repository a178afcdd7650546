//! `GET /images/{name}/history`.

use conex_api_types as api;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// What stands in the place of the id of an image that is not here.
const MISSING: &str = "<missing>";

impl Engine {
    /// How the layers of an image came about, the last first. The image has to be of a platform where one is given.
    ///
    /// # Errors
    /// 404 where there is no such image or it is of another platform, 400 for half of a platform, 500 where its configuration tells of more layers than it has.
    pub async fn image_history(
        &self,
        name: &str,
        platform: Option<&api::Platform>,
    ) -> Result<Vec<api::ImageHistoryItem>> {
        let image = self.find_image_for(name, platform)?;
        let mut sizes = image.layer_sizes.iter();
        let mut items = Vec::new();
        for entry in &image.config.history {
            let size = if entry.empty_layer {
                0
            } else {
                *sizes
                    .next()
                    .ok_or_else(|| Error::new(ErrorKind::System, "too many non-empty layers in History section"))?
            };
            items.push(api::ImageHistoryItem {
                id: MISSING.to_owned(),
                created: entry
                    .created
                    .parse::<jiff::Timestamp>()
                    .map_or(0, |time| time.as_second()),
                created_by: entry.created_by.clone(),
                tags: None,
                size: i64::try_from(size).unwrap_or(i64::MAX),
                comment: entry.comment.clone(),
            });
        }
        items.reverse();
        // Each image stands at the entry that it ends with.
        let mut next = Some(image);
        for item in &mut items {
            let Some(image) = next else { break };
            item.id.clone_from(&image.id);
            item.tags = Some(image.repo_tags.clone()).filter(|tags| !tags.is_empty());
            let parent = image.parent.as_deref();
            next = parent.and_then(|parent| self.inner.images.find(parent).ok());
        }
        Ok(items)
    }
}
