//! The engine: what the Engine API's operations mean, carried out on stores, networks and monitors.
//!
//! ```text
//!   server --> Engine --+-- images      conex-image: pull, load, make, tag, remove
//!                       +-- containers  one task each: a queue in, a watch channel out
//!                       |     +-- link  orders and news of conex-shim
//!                       +-- networks    bridges, addresses, names, published ports
//!                       +-- volumes     directories and devices that outlive containers
//!                       +-- events      everything that happened: a journal, and whoever listens
//! ```
//!
//! `Engine` is the facade; it clones cheaply. Nothing here knows HTTP: errors carry a class (`ErrorKind`) that only
//! `conex-server` maps to a status.

mod apparmor;
mod cgroups;
mod check;
mod containers;
mod count;
mod descriptors;
mod disk;
mod distribution;
mod engine;
mod error;
mod events;
mod forwarder;
mod host;
mod identity;
mod images;
mod login;
mod matching;
mod networks;
mod progress;
mod requests;
mod search;
mod seccomp;
mod selinux;
mod settings;
mod storage;
mod system;
mod template;
mod usage;
mod user_namespaces;
mod volumes;

pub use crate::cgroups::Cgroups;
pub use crate::check::{CheckStream, Repair};
pub use crate::containers::attach::{PendingAttach, PendingExec};
pub use crate::containers::stats::StatsKind;
pub use crate::engine::{Engine, Logs, ProgressStream, Waiting};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::forwarder::FORWARD_LOGS;
pub use crate::networks::list::Connected;
pub use crate::requests::{
    AttachQuery, ClientConnection, CommitRequest, ContainersQuery, CopyRequest, DataUsageQuery, EventsQuery, ExecStart,
    ImagesQuery, ImportRequest, ImportSource, LogsQuery, PullRequest, PushRequest, RemoveRequest, SearchRequest,
    StopRequest, Timestamp, WaitCondition,
};
pub use crate::settings::{Build, Settings, Storage};
pub use crate::storage::migrate::{Migration, migrate};
pub use crate::user_namespaces::{AUTO_USER, Caller};
pub use conex_api_types::LogConfig;
pub use conex_cgroup::RealTime;
pub use conex_container::health::OnFailure;
pub use conex_container::limits::Defaults as LimitDefaults;
pub use conex_container::namespaces::Defaults as NamespaceDefaults;
pub use conex_image::{Keep, Limits};
pub use conex_stream::ByteStream;
pub use conex_sys::userns::{IdMap, IdRange};
