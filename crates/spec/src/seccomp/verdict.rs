//! What a profile says about each number of an interface, as ranges.

use super::profile::{Action, Comparison, Profile, Rule};
use super::table::Abi;

const ENOSYS: u16 = 38;

/// What happens to a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same whatever its arguments.
    Always(Action),
    /// By its arguments: the first that matches, else the last value.
    ByArguments(Vec<(Vec<Comparison>, Action)>, Action),
}

/// The first numbers of ranges, ascending from 0, with the verdict up to the next.
pub(super) type Ranges = Vec<(u32, Verdict)>;

/// Cuts the numbers of an interface into ranges with the same verdict.
pub(super) fn ranges(profile: &Profile, abi: Abi) -> Ranges {
    let numbers = abi.numbers();
    let mut rules: std::collections::BTreeMap<u32, Vec<&Rule>> = std::collections::BTreeMap::new();
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            rules.entry(*number).or_default().push(rule);
        }
    }
    let unnamed = Verdict::Always(profile.default_action);
    let mut ranges: Ranges = Vec::new();
    let mut next = 0;
    for (number, rules) in &rules {
        if *number > next {
            push(&mut ranges, next, unnamed.clone());
        }
        push(&mut ranges, *number, verdict(rules, profile.default_action));
        next = number + 1;
    }
    push(&mut ranges, next, Verdict::Always(beyond(profile.default_action)));
    ranges
}

fn push(ranges: &mut Ranges, start: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|(_, last)| *last != verdict) {
        ranges.push((start, verdict));
    }
}

/// Numbers above all that the profile names: the profile is older than these calls.
fn beyond(default_action: Action) -> Action {
    match default_action {
        Action::Errno(_) => Action::Errno(ENOSYS),
        other => other,
    }
}

fn verdict(rules: &[&Rule], default_action: Action) -> Verdict {
    if let Some(rule) = rules.iter().find(|rule| rule.arguments.is_empty()) {
        return Verdict::Always(rule.action);
    }
    let cases = rules.iter().map(|rule| (rule.arguments.clone(), rule.action)).collect();
    Verdict::ByArguments(cases, default_action)
}
