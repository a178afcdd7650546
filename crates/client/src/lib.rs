//! Client of the Engine API over UNIX and TCP sockets, for the command line and for tests.
//!
//! Every request has a connection of its own: the answers of `wait`, `attach`, `logs` and `events` last as long as
//! containers do, and a UNIX socket is opened in some ten microseconds. All paths carry [`API_VERSION`], which every
//! engine of the last years speaks, so that nothing is negotiated.
//!
//! Needs a tokio runtime; a current-thread one suffices.

mod body;
mod call;
mod containers;
mod endpoint;
mod error;
mod exec;
mod images;
mod output;
mod query;
mod system;

pub use crate::body::{Archive, Chunks, Lines};
pub use crate::call::{Client, Hijacked};
pub use crate::containers::{AttachOptions, ListOptions, LogsOptions, RemoveOptions, StopOptions, Wait, WaitCondition};
pub use crate::endpoint::{Endpoint, EndpointError};
pub use crate::error::Error;
pub use crate::images::{
    CommitOptions, ImagesOptions, ImportOptions, PullOptions, PushOptions, SaveOptions, SearchOptions,
};
pub use crate::output::{Chunk, Demultiplexer, Output, Stream};
pub use crate::system::{Ping, Repair};

/// Version of the API that is spoken.
pub const API_VERSION: &str = "1.50";

/// What every operation gives.
pub type Result<T> = std::result::Result<T, Error>;
