//! The same bundle run by this runtime, by crun and by runc in turn: wall time, and processor time of all processes that the
//! run makes. `cargo xtask bench runtimes` runs it.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]

#[path = "../tests/support/bundle.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod bundle;

use std::path::Path;
use std::time::{Duration, Instant};

use bundle::{Bundle, beside_crun, crun, runc};
use conex_sys::process;

/// Counted runs of each.
const ROUNDS: usize = 60;

/// Runs that warm caches up.
const WARM_UP: usize = 3;

/// What a run took.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    processor: Duration,
}

fn main() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/conex-runtime");
    let ours = ours.canonicalize().expect("the program is needed: cargo xtask build");
    // Whoever a runtime leaves behind is reaped here, and counted.
    process::become_subreaper().unwrap();
    let costs = beside_crun(|| {
        let runtimes = [ours, crun(), runc()];
        [
            ("with Docker's default filter", docker as fn(&Path) -> Bundle),
            ("without a filter", |runtime| {
                changed(runtime, |specification| {
                    specification["linux"].as_object_mut().unwrap().remove("seccomp");
                })
            }),
        ]
        .map(|(name, bundle)| (name, measure(&runtimes.clone().map(|runtime| bundle(&runtime)))))
    });
    for (name, costs) in costs {
        print(name, &costs);
    }
}

fn docker(runtime: &Path) -> Bundle {
    changed(runtime, |_| {})
}

fn changed(runtime: &Path, change: impl Fn(&mut serde_json::Value)) -> Bundle {
    let bundle = Bundle::of(runtime, |specification| {
        bundle::docker(specification);
        change(specification);
    });
    bundle::write_docker_files(&bundle);
    bundle
}

/// Costs of each runtime, in the order of the rounds.
fn measure(bundles: &[Bundle; 3]) -> [Vec<Cost>; 3] {
    let mut costs = [const { Vec::new() }; 3];
    for round in 0..WARM_UP + ROUNDS {
        for (bundle, costs) in bundles.iter().zip(&mut costs) {
            let cost = run(bundle);
            if round >= WARM_UP {
                costs.push(cost);
            }
        }
    }
    costs
}

fn run(bundle: &Bundle) -> Cost {
    let mut command = bundle.command(&["run", &bundle.id]);
    let (before, started) = (process::time_of_children().unwrap(), Instant::now());
    let status = command.stdin(std::process::Stdio::null()).status().unwrap();
    let wall = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    // Blocks until there are no children.
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    let processor = process::time_of_children().unwrap() - before;
    Cost { wall, processor }
}

fn print(name: &str, [ours, crun, runc]: &[Vec<Cost>; 3]) {
    println!(
        "{name}:\n{:<16}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "conex, ms", "crun, ms", "runc, ms", "of crun", "of runc"
    );
    let wall: fn(&Cost) -> Duration = |cost| cost.wall;
    for (name, part) in [("wall time", wall), ("processor time", |cost| cost.processor)] {
        let milliseconds = |costs: &[Cost]| median(costs.iter().map(|cost| part(cost).as_secs_f64() * 1e3));
        let ratio = |others: &[Cost]| {
            let pairs = ours.iter().zip(others);
            median(pairs.map(|(ours, theirs)| part(ours).as_secs_f64() / part(theirs).as_secs_f64()))
        };
        println!(
            "{name:<16}{:>12.2}{:>12.2}{:>12.2}{:>12.3}{:>12.3}",
            milliseconds(ours),
            milliseconds(crun),
            milliseconds(runc),
            ratio(crun),
            ratio(runc)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
