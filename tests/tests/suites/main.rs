//! Suites of clients that others wrote, each against Docker's own daemon and against ours: what passes there passes here, or
//! is listed with its reason. Run by `cargo xtask suites`, which fetches them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../../crates/registry/tests/support/registries.rs"]
mod registries;

mod aiodocker;
mod bollard;
mod cargo_test;
mod description;
mod docker_sdk;
mod hub;
mod junit;
mod schemathesis;
mod slice;
mod stage;
mod suite;

#[test]
#[ignore = "needs the reference engine and the suites: cargo xtask suites"]
fn aiodocker_passes_where_it_passes_on_docker() {
    aiodocker::SUITE.compare();
}

#[test]
#[ignore = "needs the reference engine and the suites: cargo xtask suites"]
fn bollard_passes_where_it_passes_on_docker() {
    bollard::SUITE.compare();
}

#[test]
#[ignore = "needs the reference engine and the suites: cargo xtask suites"]
fn docker_sdk_passes_where_it_passes_on_docker() {
    docker_sdk::SUITE.compare();
}

#[test]
#[ignore = "needs the reference engine and the suites: cargo xtask suites"]
fn schemathesis_passes_where_it_passes_on_docker() {
    schemathesis::SUITE.compare();
}
