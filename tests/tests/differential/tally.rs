//! How often each operation was asked for, and which statuses it answered.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Requests that each operation is asked with at the least.
const LEAST: usize = 8;

/// An operation as the API's description names it, and the statuses that it documents, without 500.
pub(crate) type Operation = (&'static str, &'static str, &'static [u16]);

/// A documented status of an operation that no request brings about, and why.
pub(crate) type Unreached = (&'static str, &'static str, u16, &'static str);

/// Requests and statuses.
#[derive(Default)]
pub(crate) struct Tally {
    asked: Vec<(&'static str, String, u16)>,
}

impl Tally {
    pub(crate) fn count(&mut self, method: &'static str, path: &str, status: u16) {
        let path = path.split('?').next().unwrap_or(path);
        self.asked.push((method, path.to_owned(), status));
    }

    /// A line for each operation, and what is lacking.
    pub(crate) fn held_against(&self, operations: &[Operation], unreached: &[Unreached]) -> (String, String) {
        let (mut table, mut lacks) = (String::new(), String::new());
        for (method, path, documented) in operations {
            let asked = self
                .asked
                .iter()
                .filter(|(asked, at, _)| asked == method && is_at(at, path));
            let statuses: Vec<u16> = asked.map(|(.., status)| *status).collect();
            let reached: BTreeSet<u16> = statuses.iter().copied().collect();
            let _ = writeln!(table, "{:4} {method} {path}: {reached:?}", statuses.len());
            if statuses.len() < LEAST {
                let _ = writeln!(lacks, "{method} {path}: {} requests of {LEAST}", statuses.len());
            }
            for status in *documented {
                let told = unreached
                    .iter()
                    .find(|(a, b, c, _)| (a, b, c) == (method, path, status));
                match (reached.contains(status), told) {
                    (false, None) => {
                        let _ = writeln!(lacks, "{method} {path}: {status} is not reached");
                    }
                    (true, Some(_)) => {
                        let _ = writeln!(lacks, "{method} {path}: {status} is reached after all");
                    }
                    (false, Some((.., why))) => {
                        let _ = writeln!(table, "     {status} is not reached: {why}");
                    }
                    (true, None) => {}
                }
            }
        }
        (table, lacks)
    }
}

/// Whether a path is one of a template; a `{name}` stands for one segment or, as names of images have, more.
fn is_at(path: &str, template: &str) -> bool {
    let path: Vec<&str> = path.split('/').collect();
    let template: Vec<&str> = template.split('/').collect();
    follows(&path, &template)
}

fn follows(path: &[&str], template: &[&str]) -> bool {
    match (path, template) {
        ([], []) => true,
        ([_, path @ ..], [part, rest @ ..]) if part.starts_with('{') => follows(path, rest) || follows(path, template),
        ([at, path @ ..], [part, rest @ ..]) => at == part && follows(path, rest),
        _ => false,
    }
}
