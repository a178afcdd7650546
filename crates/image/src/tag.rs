//! Giving names.

use std::time::{SystemTime, UNIX_EPOCH};

use conex_metadata::{Changes, Table};
use conex_reference::Reference;

use crate::error::TagError;
use crate::images::Images;
use crate::records::ImageRecord;

impl Images {
    /// Gives an image a name, taking it from whichever had it. It is on disk when this returns.
    pub async fn tag(&self, id: &str, reference: &Reference) -> Result<(), TagError> {
        let (images, id, name) = (self.clone(), id.to_owned(), reference.to_string());
        // A caller that goes away must not part memory from disk.
        let tagging = tokio::spawn(async move { images.record_tag(&id, name).await });
        tagging.await.map_err(|_| TagError::CutOff)?
    }

    async fn record_tag(&self, id: &str, name: String) -> Result<(), TagError> {
        let _changes = self.shared.changes.lock().await;
        let record = self.shared.index().images.get(id).map(|stored| stored.record.clone());
        let mut record = record.ok_or_else(|| TagError::Gone(id.to_owned()))?;
        record.last_tagged = Some(now());
        let changes = Changes::new()
            .require_present(Table::Images, id)
            .put(Table::Images, id, encode(&record))
            .put(Table::Tags, name.as_str(), id);
        self.shared.metadata.commit(changes).await?;
        let mut index = self.shared.index();
        index.tags.insert(name, id.to_owned());
        if let Some(stored) = index.images.get_mut(id) {
            stored.record = record;
        }
        Ok(())
    }
}

/// A record as it is stored.
pub(crate) fn encode<T: serde::Serialize>(record: &T) -> Vec<u8> {
    // Records are plain data, of which serde_json can encode everything.
    serde_json::to_vec(record).unwrap_or_default()
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl ImageRecord {
    /// A record of the present version, tagged now.
    pub(crate) fn new(layers: Vec<String>, manifest: Option<String>, parent: Option<String>) -> Self {
        Self {
            version: crate::records::VERSION,
            layers,
            manifest,
            parent,
            retained: false,
            last_tagged: Some(now()),
        }
    }
}
