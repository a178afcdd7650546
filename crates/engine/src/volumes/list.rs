//! `GET /volumes`, `GET /volumes/{name}`, and their part of `system df`.

use conex_api_types as api;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::volumes::{DRIVER, Volume, Volumes, no_such_volume};

/// Filters of a list that are understood.
const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];

impl Engine {
    /// Lists volumes.
    ///
    /// # Errors
    /// 400 for a filter that there is none of.
    pub fn volumes(&self, filters: &api::Filters) -> Result<api::VolumeList> {
        let invalid = |error: api::FiltersError| Error::new(ErrorKind::InvalidParameter, error.to_string());
        filters.require_known(&FILTERS).map_err(invalid)?;
        let dangling = filters.truth("dangling").map_err(invalid)?;
        let any = |name: &str, has: &dyn Fn(&str) -> bool| {
            let values = filters.values(name).unwrap_or_default();
            values.is_empty() || values.iter().any(|value| has(value))
        };
        let state = self.inner.volumes.lock();
        let wanted = state.values().filter(|volume| {
            let record = &volume.record;
            dangling.is_none_or(|dangling| dangling == volume.users.is_empty())
                && any("driver", &|value| value == DRIVER)
                && any("name", &|value| matching::name(&record.name, value))
                && matching::labels(&record.labels.clone().unwrap_or_default(), filters)
        });
        Ok(api::VolumeList {
            volumes: wanted.map(|volume| self.inner.volumes.describe(volume)).collect(),
            warnings: None,
        })
    }

    /// Inspects a volume.
    ///
    /// # Errors
    /// 404 where there is none of the name.
    pub fn inspect_volume(&self, name: &str) -> Result<api::Volume> {
        self.inner.volumes.inspect(name)
    }

    /// All volumes with what they take.
    pub(crate) async fn volumes_with_usage(&self) -> Result<Vec<api::Volume>> {
        let inner = self.inner.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let found: Vec<(api::Volume, usize)> = {
                let state = inner.volumes.lock();
                let volumes = state.values();
                volumes
                    .map(|volume| (inner.volumes.describe(volume), volume.users.len()))
                    .collect()
            };
            let with_usage = found.into_iter().map(|(mut volume, users)| {
                let size = inner
                    .volumes
                    .usage(&volume.name)
                    .and_then(|bytes| i64::try_from(bytes).ok());
                volume.usage_data = Some(api::VolumeUsage {
                    ref_count: i64::try_from(users).unwrap_or(i64::MAX),
                    size: size.unwrap_or(-1),
                });
                volume
            });
            with_usage.collect()
        });
        counted
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("count the volumes: {error}")))
    }
}

impl Volumes {
    pub(super) fn inspect(&self, name: &str) -> Result<api::Volume> {
        let state = self.lock();
        let volume = state.get(name).ok_or_else(|| no_such_volume(name))?;
        Ok(self.describe(volume))
    }

    /// Bytes that a volume takes; `None` where they cannot be counted. It blocks.
    pub(super) fn usage(&self, name: &str) -> Option<u64> {
        let counted = self.store.usage(name);
        let error = |error| tracing::warn!(%error, volume = name, "count the bytes of a volume");
        counted.map_err(error).ok()
    }

    fn describe(&self, volume: &Volume) -> api::Volume {
        let record = &volume.record;
        api::Volume {
            created_at: record.created.clone(),
            driver: DRIVER.to_owned(),
            labels: record.labels.clone(),
            mountpoint: self.store.data(&record.name).display().to_string(),
            name: record.name.clone(),
            options: record.options.clone(),
            scope: "local".to_owned(),
            usage_data: None,
        }
    }
}
