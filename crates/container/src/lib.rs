//! What a container is meant to be, and how it lives: decisions without effects.
//!
//! `Config::from_request` is the one conversion from a request as a client typed it to what it means; it is the
//! validation. `state` is the life of a container as a state machine.

mod config;
pub mod depends_on;
pub mod detach_keys;
mod exec;
pub mod health;
mod invalid;
pub mod limits;
pub mod logging;
mod merge;
mod mounts;
pub mod names;
pub mod namespaces;
mod networking;
pub mod restart;
pub mod signals;
pub mod state;
pub mod storage;
mod unsupported;
mod update;
pub mod userns;

pub use crate::config::Config;
pub use crate::exec::ExecConfig;
pub use crate::invalid::Invalid;
pub use crate::merge::ImageDefaults;
pub use crate::mounts::{BindPropagation, MountChoice, Relabel, Submounts, VolumeChoice, VolumesFrom};
pub use crate::networking::{NetworkChoice, PortRequest, asked_for, port_name};
