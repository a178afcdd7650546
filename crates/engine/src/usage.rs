//! `system df`: the disk that everything takes.

use conex_api_types as api;

use crate::engine::Engine;
use crate::error::Result;
use crate::requests::{ContainersQuery, DataUsageQuery, ImagesQuery};

impl Engine {
    /// The disk that images, containers, volumes and the build cache take, as far as it is asked for.
    pub async fn data_usage(&self, query: DataUsageQuery) -> Result<api::DataUsage> {
        let mut usage = api::DataUsage::default();
        if query.images {
            usage.layers_size = number(self.inner.images.usage().layers);
            usage.images = Some(self.images_with_usage().await?);
        }
        if query.containers {
            let all = ContainersQuery {
                all: true,
                size: true,
                ..ContainersQuery::default()
            };
            usage.containers = Some(self.containers(all).await?);
        }
        if query.volumes {
            usage.volumes = Some(self.volumes_with_usage().await?);
        }
        if query.build_cache {
            // There are no builds yet, so there is nothing that they keep.
            usage.build_cache = Some(Vec::new());
        }
        Ok(usage)
    }

    async fn images_with_usage(&self) -> Result<Vec<api::ImageSummary>> {
        let query = ImagesQuery {
            shared_size: true,
            containers: true,
            ..ImagesQuery::default()
        };
        self.images(query).await
    }
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
