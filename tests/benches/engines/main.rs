//! The figures of `SPECIFICATION.md`: both engines on their sockets in turn, so that the ratios hold on a noisy machine,
//! then what is promised of ours alone. `cargo xtask bench [NAME...]` runs it, on a file system with a journal.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]

mod alone;
mod health;
mod images;
mod limits;
mod operations;
mod processor;
mod pulls;
#[path = "../../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::time::Duration;

use conex_tests::{Engine, Sandbox};

use crate::operations::{OPERATIONS, Operation, Side};

fn main() {
    // `cargo bench` adds flags of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let operations: Vec<&Operation> = OPERATIONS
        .iter()
        .filter(|operation| is_wanted(operation.name))
        .collect();
    if !operations.is_empty() {
        let root =
            std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
        let mut theirs = Side::new(Sandbox::with_busybox(Engine::Reference(root.into())));
        let mut ours = Side::new(Sandbox::with_busybox(Engine::Conex));
        println!(
            "{:<14}{:>12}{:>12}{:>10}{:>12}",
            "", "Docker, ms", "Conex, ms", "ratio", "promised"
        );
        for operation in operations {
            compare(operation, &mut theirs, &mut ours);
        }
        theirs.clean();
        ours.clean();
    }
    for figure in alone::FIGURES.iter().filter(|figure| is_wanted(figure.name)) {
        println!("{:<14}{}", figure.name, (figure.measure)());
    }
}

/// Prints an operation's medians, and the median of the ratios pair by pair.
fn compare(operation: &Operation, theirs: &mut Side, ours: &mut Side) {
    // The first round is the warm-up.
    let rounds = (0..=operation.rounds).map(|_| (theirs.time(operation), ours.time(operation)));
    let pairs: Vec<(Duration, Duration)> = rounds.skip(1).collect();
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "{:<14}{:>12.2}{:>12.2}{:>9.1}x{:>12}",
        operation.name,
        median(pairs.iter().map(|(theirs, _)| milliseconds(theirs))),
        median(pairs.iter().map(|(_, ours)| milliseconds(ours))),
        median(
            pairs
                .iter()
                .map(|(theirs, ours)| theirs.as_secs_f64() / ours.as_secs_f64())
        ),
        operation.promised,
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
