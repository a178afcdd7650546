//! The driver against the kernel: as root, each test in network namespaces of its own.

#![allow(
    clippy::unwrap_used,
    reason = "the functions that the tests share panic as the tests do"
)]

mod bridges;
mod endpoints;
mod firewall;
mod host;
mod latency;
mod pool;
mod rates;
