//! What strangers send is parsed, printed, unpacked, whatever its bytes: inputs are made by changing those of a kept corpus, for
//! `CONEX_FUZZ_SECONDS` (2; `cargo xtask test` gives 60) to each target.
//!
//! ```text
//!   tests/corpus/<target>/<name>.hex    what is begun with; what failed once stays there
//!   CONEX_FUZZ_SEED=<number>            another course than the usual one
//! ```
//!
//! An input that makes a target do what none before did is kept and changed further; what a target does is told by a few words of
//! it, as the kinds of members and of errors. An input that fails is made smaller and written to the corpus.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bytes;
mod compression;
mod corpus;
mod fuzzer;
mod manifests;
mod references;
mod tar;
