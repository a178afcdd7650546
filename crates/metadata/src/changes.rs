//! What a transaction asks for.

use std::fmt;

/// A table of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Container id to the engine's record.
    Containers,
    /// Container name to container id.
    Names,
    /// Image id to the image store's record.
    Images,
    /// `repository:tag` or `repository@digest` to the image store's record of the images that it means.
    Tags,
    /// Diff id or chain id to the image store's record of an unpacked layer.
    Layers,
    /// Network id to the engine's record.
    Networks,
    /// Volume name to the volume store's record.
    Volumes,
    /// Diff id to the image store's record of which registries have the layer.
    Origins,
    /// Name to what the engine notes about the data root itself.
    DataRoot,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 9] = [
        Self::Containers,
        Self::Names,
        Self::Images,
        Self::Tags,
        Self::Layers,
        Self::Networks,
        Self::Volumes,
        Self::Origins,
        Self::DataRoot,
    ];

    /// Its name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Names => "names",
            Self::Images => "images",
            Self::Tags => "tags",
            Self::Layers => "layers",
            Self::Networks => "networks",
            Self::Volumes => "volumes",
            Self::Origins => "origins",
            Self::DataRoot => "data-root",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What must hold before a transaction's writes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) table: Table,
    pub(crate) key: String,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Absent,
    Present,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) table: Table,
    pub(crate) key: String,
    /// `None` deletes.
    pub(crate) value: Option<Vec<u8>>,
}

/// Writes that become durable together or not at all, with what must hold before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) writes: Vec<Write>,
}

impl Changes {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key must not exist; else the whole is refused with `CommitError::Exists`.
    #[must_use]
    pub fn require_absent(mut self, table: Table, key: impl Into<String>) -> Self {
        self.requirements.push(Requirement {
            table,
            key: key.into(),
            expected: Expected::Absent,
        });
        self
    }

    /// The key must exist; else the whole is refused with `CommitError::Missing`.
    #[must_use]
    pub fn require_present(mut self, table: Table, key: impl Into<String>) -> Self {
        self.requirements.push(Requirement {
            table,
            key: key.into(),
            expected: Expected::Present,
        });
        self
    }

    /// Writes a value, replacing what the key had.
    #[must_use]
    pub fn put(mut self, table: Table, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write {
            table,
            key: key.into(),
            value: Some(value.into()),
        });
        self
    }

    /// These and those, in one transaction.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.requirements.extend(other.requirements);
        self.writes.extend(other.writes);
        self
    }

    /// Deletes a key; one that is absent is no error.
    #[must_use]
    pub fn delete(mut self, table: Table, key: impl Into<String>) -> Self {
        self.writes.push(Write {
            table,
            key: key.into(),
            value: None,
        });
        self
    }
}
