//! What client tests share: a scratch daemon in a network namespace and below a cgroup of its own, driven by the real
//! `docker` CLI; nothing of it may be left behind.
//!
//! The daemon is `target/dist/conexd` (`cargo xtask build`). What a test needs and does not find makes it fail.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bytes;
mod counting;
mod engine;
mod http;
mod image;
mod sandbox;
mod storage;
mod usage;

pub use crate::bytes::{compressed, noise, through};
pub use crate::counting::{COUNTER, assert_no_gap};
pub use crate::engine::{Engine, dist};
pub use crate::http::{Answer, Question, Reply, frames};
pub use crate::image::{
    archive_from, archive_of, archive_of_all, busybox_archive, busybox_layer, config_of, hex, layer_of, seeded_archive,
};
pub use crate::sandbox::{Said, Sandbox, eventually};
pub use crate::storage::{Disk, StorageDriver};
pub use crate::usage::Usage;
