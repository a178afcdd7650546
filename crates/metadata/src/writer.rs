//! The writer: takes what is queued, makes it durable in one transaction, answers all.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use futures_channel::oneshot;
use redb::{Database, Durability, ReadableTable, WriteTransaction};

use crate::changes::{Changes, Expected, Requirement, Table};
use crate::error::CommitError;
use crate::store::{StoreFile, definition};

/// Transactions that share one sync at most; bounds the memory of one group.
const GROUP: usize = 256;

/// A queued transaction and where its answer goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) changes: Changes,
    pub(crate) answer: oneshot::Sender<Result<(), CommitError>>,
}

/// Serves the queue until it is closed and empty.
pub(crate) fn run(file: &StoreFile, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(next) = requests.try_recv() else { break };
            group.push(next);
        }
        serve(file, group);
    }
}

fn serve(file: &StoreFile, group: Vec<Request>) {
    let verdicts = file.access(|database| commit_group(database, &group)).map_err(Arc::new);
    for (index, request) in group.into_iter().enumerate() {
        let answer = match &verdicts {
            Ok(verdicts) => verdicts[index].clone(),
            Err(source) => Err(CommitError::Store {
                source: Arc::clone(source),
            }),
        };
        // A caller that no longer waits is no error: the transaction stands.
        let _ = request.answer.send(answer);
    }
}

/// One verdict per request; an error means that nothing of the group was written.
fn commit_group(database: &Database, group: &[Request]) -> Result<Vec<Result<(), CommitError>>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut verdicts = Vec::with_capacity(group.len());
    let mut written = false;
    for Request { changes, .. } in group {
        let verdict = judge(&transaction, &changes.requirements)?;
        if verdict.is_ok() {
            write(&transaction, changes)?;
            written |= !changes.writes.is_empty();
        }
        verdicts.push(verdict);
    }
    // Refusals alone need no sync.
    if written {
        transaction.commit()?
    } else {
        transaction.abort()?
    }
    Ok(verdicts)
}

fn judge(transaction: &WriteTransaction, requirements: &[Requirement]) -> Result<Result<(), CommitError>, redb::Error> {
    for Requirement { table, key, expected } in requirements {
        let present = transaction.open_table(definition(*table))?.get(key.as_str())?.is_some();
        match (expected, present) {
            (Expected::Absent, true) => {
                return Ok(Err(CommitError::Exists {
                    table: *table,
                    key: key.clone(),
                }));
            }
            (Expected::Present, false) => {
                return Ok(Err(CommitError::Missing {
                    table: *table,
                    key: key.clone(),
                }));
            }
            (Expected::Absent, false) | (Expected::Present, true) => {}
        }
    }
    Ok(Ok(()))
}

fn write(transaction: &WriteTransaction, changes: &Changes) -> Result<(), redb::Error> {
    for table in Table::ALL {
        let mut writes = changes.writes.iter().filter(|write| write.table == table).peekable();
        if writes.peek().is_none() {
            continue;
        }
        let mut rows = transaction.open_table(definition(table))?;
        for write in writes {
            match &write.value {
                Some(value) => drop(rows.insert(write.key.as_str(), value.as_slice())?),
                None => drop(rows.remove(write.key.as_str())?),
            }
        }
    }
    Ok(())
}
