//! Volumes in the metadata store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::VolumeError;

/// Version of `VolumeRecord`.
const VERSION: u32 = 1;

/// A volume as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Version of this shape.
    version: u32,
    /// Name.
    pub name: String,
    /// RFC 3339 to the second, UTC.
    pub created: String,
    /// Labels; `None` where none were spoken of.
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of the driver; `None` where none were spoken of.
    pub options: Option<BTreeMap<String, String>>,
    /// It is removed; what is left of it is to be discarded.
    #[serde(default)]
    pub(crate) removed: bool,
}

impl VolumeRecord {
    /// Of a new volume.
    #[must_use]
    pub fn new(
        name: &str,
        created: String,
        labels: Option<BTreeMap<String, String>>,
        options: Option<BTreeMap<String, String>>,
    ) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            created,
            labels,
            options,
            removed: false,
        }
    }

    pub(crate) fn tombstone(name: &str) -> Self {
        Self {
            removed: true,
            ..Self::new(name, String::new(), None, None)
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // A struct of texts and maps of texts always is JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, VolumeError> {
        let wrong = |reason: String| VolumeError::Record {
            name: name.to_owned(),
            reason,
        };
        let record: Self = serde_json::from_slice(bytes).map_err(|error| wrong(format!("is damaged: {error}")))?;
        if record.version > VERSION {
            let version = record.version;
            return Err(wrong(format!("has version {version}, this daemon knows {VERSION}")));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_store() {
        let labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let record = VolumeRecord::new("one", "2026-01-01T00:00:00Z".into(), labels, None);
        assert_eq!(VolumeRecord::parse("one", &record.encode()).unwrap(), record);
    }

    #[test]
    fn one_of_a_later_program_is_refused() {
        let later = String::from_utf8(VolumeRecord::tombstone("one").encode()).unwrap();
        let later = later.replace("\"version\":1", "\"version\":2");
        assert!(VolumeRecord::parse("one", later.as_bytes()).is_err());
    }
}
