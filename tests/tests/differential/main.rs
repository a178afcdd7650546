//! The same requests to Docker's own daemon and to ours: status, headers, JSON, streams and archives are the same, or the
//! difference is listed with its reason. Run by `cargo xtask reference`.
//!
//! Each part names the operations of the API that it is about; each of them is asked for at least eight times, with values
//! other than the defaults, and answers every status that the API documents for it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod archives;
mod connections;
mod create;
mod decode;
mod events;
mod execs;
mod files;
mod harness;
mod health;
mod images;
mod lifecycle;
mod limits;
mod list;
mod logging;
mod networks;
mod normal;
#[path = "../../../crates/registry/tests/support/registries.rs"]
mod registries;
mod removals;
mod restarts;
mod streams;
mod system;
mod tally;
mod transfers;
mod unpack;
mod usage;
mod volumes;
mod watching;
