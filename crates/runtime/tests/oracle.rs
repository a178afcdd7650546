//! The oracle: every bundle of the tests under this runtime, runc and crun. What its first process and a later one see of
//! themselves is the same,
//! or the difference stands in `oracle/` with its reason.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "support/bundles.rs"]
mod bundles;
#[path = "oracle/reasons.rs"]
mod reasons;
#[path = "oracle/view.rs"]
mod view;

use std::path::Path;

use bundle::{CONEX, beside_crun, crun, runc};
use bundles::{ALL, Named};
use reasons::{Difference, Reason};
use view::{Reader, View};

/// The differences of one bundle that have no reason.
fn unexplained(named: &Named, reasons: &[Reason]) -> Vec<String> {
    let later = format!("{} later", named.name);
    let readers = [(named.name, Reader::First), (later.as_str(), Reader::Later)];
    let mut unexplained = Vec::new();
    for (bundle, reader) in readers {
        let ours = view::of(Path::new(CONEX), named, reader);
        for (peer, program) in [("runc", runc()), ("crun", crun())] {
            let theirs = view::of(&program, named, reader);
            for ((file, line), our_value, their_value) in differing(&ours, &theirs) {
                let difference = Difference {
                    peer,
                    bundle,
                    file,
                    line,
                    ours: our_value,
                    theirs: their_value,
                };
                // Every pattern that fits is met.
                if reasons.iter().filter(|reason| reason.explains(&difference)).count() == 0 {
                    unexplained.push(difference.to_string());
                }
            }
        }
    }
    unexplained
}

/// Lines whose values differ. Where one of the two refuses the bundle, that is the only difference.
fn differing<'a>(ours: &'a View, theirs: &'a View) -> Vec<(&'a (&'static str, String), &'a str, &'a str)> {
    let mut lines: Vec<_> = ours.keys().chain(theirs.keys()).collect();
    lines.sort();
    lines.dedup();
    let value = |view: &'a View, line| view.get(line).map_or("absent", String::as_str);
    let refused = ours.len() == 1 || theirs.len() == 1;
    lines
        .into_iter()
        .filter(|(file, _)| !refused || *file == "run")
        .map(|line| (line, value(ours, line), value(theirs, line)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect()
}

#[test]
fn every_difference_from_runc_and_crun_has_a_reason() {
    let of_the_host = if Path::new("/sys/fs/cgroup/memory").exists() {
        include_str!("oracle/version1.txt")
    } else {
        include_str!("oracle/version2.txt")
    };
    let (unexplained, unmet) = beside_crun(|| {
        let mut reasons = reasons::parse(include_str!("oracle/differences.txt"));
        reasons.extend(reasons::parse(of_the_host));
        let unexplained: Vec<String> = ALL.iter().flat_map(|named| unexplained(named, &reasons)).collect();
        let unmet: Vec<String> = reasons.iter().filter_map(Reason::unmet).collect();
        (unexplained, unmet)
    });
    assert!(
        unexplained.is_empty(),
        "differences without a reason (who | bundle | file | line | ours | theirs):\n{}",
        unexplained.join("\n")
    );
    assert!(unmet.is_empty(), "reasons for nothing:\n{}", unmet.join("\n"));
}
