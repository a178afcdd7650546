//! The store's handle: opening, reading, and the queue to the writer.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use futures_channel::oneshot;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::changes::{Changes, Table};
use crate::error::{CommitError, OpenError, ReadError};
use crate::writer::{self, Request};

/// Pages kept in memory. Tables are read once, at start, and written a page at a time; more would only be resident.
const CACHE: usize = 1 << 20;

/// Layout of the tables and their keys.
const SCHEMA: &str = "1";

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// A table of the store as redb names it.
pub(crate) fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

/// The open store; clones share it, and the last one closes it.
#[derive(Debug, Clone)]
pub struct Metadata {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<StoreFile>,
    queue: Mutex<Option<Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Metadata {
    /// Opens the store, making it where it is absent, and starts its writer.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = Arc::new(StoreFile::open(path)?);
        let (queue, requests) = mpsc::channel();
        let writing = Arc::clone(&file);
        let writer = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || writer::run(&writing, &requests))
            .map_err(|source| OpenError::Thread {
                path: path.to_owned(),
                source,
            })?;
        let shared = Shared {
            file,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Queues a transaction. It is made whether or not the answer is waited for.
    pub fn commit(&self, changes: Changes) -> Commit {
        let (answer, outcome) = oneshot::channel();
        if let Some(queue) = &*self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // A writer that is gone drops the answer's sender, which `Commit` reports.
            let _ = queue.send(Request { changes, answer });
        }
        Commit { outcome }
    }

    /// Everything in a table, in the order of its keys.
    pub fn load(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        self.shared
            .file
            .access(|database| load_table(database, table))
            .map_err(|source| ReadError {
                table,
                source: Box::new(source),
            })
    }

    /// The value of one key.
    pub fn read(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.shared
            .file
            .access(|database| read_key(database, table, key))
            .map_err(|source| ReadError {
                table,
                source: Box::new(source),
            })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends when the queue is closed and empty; waiting for it releases the file's lock.
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has nothing left to answer.
            let _ = writer.join();
        }
    }
}

/// The answer to a transaction: a future, or something to block on.
#[derive(Debug)]
#[must_use = "a transaction may be refused"]
pub struct Commit {
    outcome: oneshot::Receiver<Result<(), CommitError>>,
}

impl Commit {
    /// Blocks until the transaction is on disk or refused.
    pub fn wait(self) -> Result<(), CommitError> {
        futures_executor::block_on(self)
    }
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(CommitError::Closed)))
    }
}

/// The database in its file.
#[derive(Debug)]
pub(crate) struct StoreFile {
    path: PathBuf,
    /// `None` where it could not be opened again.
    database: RwLock<Option<Database>>,
}

impl StoreFile {
    fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            path: path.to_owned(),
            database: RwLock::new(Some(open_database(path)?)),
        })
    }

    /// Works on the database. redb refuses everything after an I/O error, a full disk above all, until it is opened
    /// again (`redb::StorageError::PreviousIo`), so that is done first where an earlier access met one.
    pub(crate) fn access<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        match self.try_access(&work) {
            Err(redb::Error::PreviousIo) => {
                self.reopen()?;
                self.try_access(&work)
            }
            outcome => outcome,
        }
    }

    fn try_access<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(redb::Error::PreviousIo),
        }
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has the file's lock.
        *database = None;
        *database = Some(Database::builder().set_cache_size(CACHE).open(&self.path)?);
        Ok(())
    }
}

fn load_table(database: &Database, table: Table) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let snapshot = database.begin_read()?;
    let rows = match snapshot.open_table(definition(table)) {
        // A store that an earlier program made has no table of a kind that came later until something is written to it.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        rows => rows?,
    };
    let mut loaded = Vec::new();
    for row in rows.iter()? {
        let (key, value) = row?;
        loaded.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(loaded)
}

fn read_key(database: &Database, table: Table, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let snapshot = database.begin_read()?;
    let rows = snapshot.open_table(definition(table))?;
    Ok(rows.get(key)?.map(|value| value.value().to_vec()))
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let failed = |source: redb::Error| OpenError::Database {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let database = Database::builder()
        .set_cache_size(CACHE)
        .create(path)
        .map_err(|error| failed(error.into()))?;
    match schema(&database).map_err(failed)? {
        Some(found) if found == SCHEMA => {}
        Some(found) => {
            return Err(OpenError::Schema {
                path: path.to_owned(),
                found,
                expected: SCHEMA,
            });
        }
        None => make_tables(&database).map_err(failed)?,
    }
    Ok(database)
}

fn schema(database: &Database) -> Result<Option<String>, redb::Error> {
    let snapshot = database.begin_read()?;
    let meta = match snapshot.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(meta
        .get("schema")?
        .map(|value| String::from_utf8_lossy(value.value()).into_owned()))
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in Table::ALL {
        transaction.open_table(definition(table))?;
    }
    transaction.open_table(META)?.insert("schema", SCHEMA.as_bytes())?;
    transaction.commit()?;
    Ok(())
}
