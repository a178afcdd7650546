//! Registries for tests: Debian's real one with every kind of authentication, and one that misbehaves on order.
//!
//! Threads and the standard library only (and `conex-reference` for digests), so that a test of any package, with or
//! without tokio, takes it in by path:
//!
//! ```ignore
//! #[path = "../../registry/tests/support/registries.rs"]
//! mod registries;
//! ```

#![allow(dead_code, reason = "no test needs all of it")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub(crate) mod encoding;
pub(crate) mod faulty;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod proxy;
pub(crate) mod real;
pub(crate) mod tokens;
