//! Giving names.

use std::time::{SystemTime, UNIX_EPOCH};

use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Platform, Reference};

use crate::error::TagError;
use crate::find::resolve;
use crate::images::Images;
use crate::index::Index;
use crate::names::{self, Meaning};
use crate::records::ImageRecord;

impl Images {
    /// Gives what a text names another name, with all its platforms, taking it from whatever had it. It is on disk when
    /// this returns, with the id of the image that runs here.
    pub async fn tag(&self, source: &str, reference: &Reference) -> Result<String, TagError> {
        let (images, source, name) = (self.clone(), source.to_owned(), reference.to_string());
        // A caller that goes away must not part memory from disk.
        let tagging = tokio::spawn(async move { images.record_tag(&source, name).await });
        tagging.await.map_err(|_| TagError::CutOff)?
    }

    /// What names mean once an image that came by `target` has them.
    pub(crate) fn meanings(
        &self,
        names: &[String],
        target: Option<Digest>,
        id: &str,
        platform: &Platform,
    ) -> Vec<(String, Meaning)> {
        let index = self.shared.index();
        let joined = |name: &String| (name.clone(), index.joined(name, target, id, platform));
        names.iter().map(joined).collect()
    }

    /// Gives names their meanings, as they are on disk already; what they came by before goes where nothing else did.
    pub(crate) fn name(&self, index: &mut Index, meanings: Vec<(String, Meaning)>) {
        let before = meanings.iter().filter_map(|(name, _)| index.names.get(name)?.target);
        let before: Vec<Digest> = before.collect();
        for (name, meaning) in meanings {
            index.names.set(name, meaning);
        }
        self.sweep(index, &before);
        // It waits for the index, which is locked.
        self.shared.layout.changed();
    }

    async fn record_tag(&self, source: &str, name: String) -> Result<String, TagError> {
        let _changes = self.shared.changes.lock().await;
        let (id, meaning, mut records) = {
            let index = self.shared.index();
            let named = resolve(&index, source)?;
            let meaning = named.meaning(&index);
            let record = |id: &String| Some((id.clone(), index.images.get(id)?.record.clone()));
            let records: Vec<_> = meaning.images.iter().filter_map(record).collect();
            (named.chosen(&index, source, None)?, meaning, records)
        };
        let mut changes = names::change(Changes::new(), &name, &meaning);
        for (id, record) in &mut records {
            record.last_tagged = Some(now());
            changes =
                changes
                    .require_present(Table::Images, id.as_str())
                    .put(Table::Images, id.as_str(), encode(record));
        }
        self.shared.metadata.commit(changes).await?;
        let mut index = self.shared.index();
        self.name(&mut index, vec![(name, meaning)]);
        for (id, record) in records {
            if let Some(stored) = index.images.get_mut(&id) {
                stored.record = record;
            }
        }
        Ok(id)
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
            layout: None,
            parent,
            retained: false,
            last_tagged: Some(now()),
        }
    }
}
