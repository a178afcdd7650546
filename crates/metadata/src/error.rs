//! How the store fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::changes::Table;

/// The store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a store, is damaged, or is held by another process.
    #[error("open metadata store {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file was written by a program with another layout.
    #[error("metadata store {path} has schema {found}, this program reads {expected}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// What this program writes.
        expected: &'static str,
    },
    /// No thread for the writer.
    #[error("start the writer of metadata store {path}")]
    Thread {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A transaction was not made; nothing of it is in the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A key that had to be absent exists.
    #[error("{key} exists in {table}")]
    Exists {
        /// Where.
        table: Table,
        /// Which.
        key: String,
    },
    /// A key that had to exist is absent.
    #[error("{key} is not in {table}")]
    Missing {
        /// Where.
        table: Table,
        /// Which.
        key: String,
    },
    /// The file could not be written (a full disk, an I/O error).
    #[error("write the metadata store")]
    Store {
        /// The cause, shared by all transactions of the group.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The store was closed.
    #[error("the metadata store is closed")]
    Closed,
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
#[error("read table {table} of the metadata store")]
pub struct ReadError {
    /// The table.
    pub table: Table,
    /// The cause.
    #[source]
    pub source: Box<redb::Error>,
}
