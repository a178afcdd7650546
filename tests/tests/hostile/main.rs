//! Images of strangers that are broken, lie, or are meant to do harm: each ends in an error that names blob and place, within
//! bounds, and the store is as it was before.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../../crates/registry/tests/support/registries.rs"]
mod registries;

mod bombs;
mod full;
mod loads;
mod making;
mod pulls;
mod state;
