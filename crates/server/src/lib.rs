//! The Engine API over HTTP: routes, bodies, status codes, and connections that change their protocol.
//!
//! ```text
//!   connection --> router (versioned and not) --> routes/<resource> --> Engine
//!                                                     |
//!                                                     +-- errors: one function maps a class to a status
//!                                                     +-- attach, exec: the connection itself goes to the engine
//! ```
//!
//! Only this crate knows HTTP.

mod answer;
mod connection;
mod hijack;
mod json;
mod media_type;
mod query;
mod request_line;
mod router;
mod routes;
mod upload;
mod version;
mod websocket;

pub use crate::connection::{serve_tcp, serve_unix};
