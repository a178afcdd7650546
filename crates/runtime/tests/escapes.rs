//! Published escapes, each tried without its guard, where it has to succeed, and with it, where it has to fail.
//! `docs/security.md` has the table of them.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "support/weakened.rs"]
mod weakened;

#[path = "escapes/descriptors.rs"]
mod descriptors;
#[path = "escapes/kernel.rs"]
mod kernel;
#[path = "escapes/mounts.rs"]
mod mounts;
#[path = "escapes/policy.rs"]
mod policy;
