//! Rules of devices as systemd takes them: what is allowed, and nothing else is (systemd.resource-control(5),
//! `DeviceAllow=`).

use conex_spec::plan::DeviceRule;

/// What rules come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every device.
    Everything,
    /// Devices, as systemd names them, with what is allowed.
    Listed(Vec<(String, String)>),
}

/// Carries the rules out in their order. What systemd has no words for is left out of the list, so that it is denied: devices
/// that are excepted from "every", and one minor number of every major one.
pub(crate) fn access(rules: &[DeviceRule]) -> Access {
    let mut allowed: Vec<DeviceRule> = Vec::new();
    let mut others = false;
    let mut excepted = false;
    for rule in rules {
        match (rule.kind, rule.allow) {
            ('a', allow) => {
                allowed.clear();
                others = allow;
                excepted = false;
            }
            (_, false) if others => excepted = true,
            (_, true) if others => {}
            (_, true) => allow(&mut allowed, rule),
            (_, false) => deny(&mut allowed, rule),
        }
    }
    if others && !excepted {
        return Access::Everything;
    }
    let listed = allowed
        .iter()
        .filter_map(|rule| Some((name(rule)?, rule.access.clone())));
    Access::Listed(listed.collect())
}

fn same(one: &DeviceRule, other: &DeviceRule) -> bool {
    (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
}

fn allow(allowed: &mut Vec<DeviceRule>, rule: &DeviceRule) {
    let Some(known) = allowed.iter_mut().find(|known| same(known, rule)) else {
        allowed.push(rule.clone());
        return;
    };
    known.access = in_order(|letter| known.access.contains(letter) || rule.access.contains(letter));
}

fn deny(allowed: &mut Vec<DeviceRule>, rule: &DeviceRule) {
    for known in allowed.iter_mut().filter(|known| same(known, rule)) {
        known.access = in_order(|letter| known.access.contains(letter) && !rule.access.contains(letter));
    }
    allowed.retain(|known| !known.access.is_empty());
}

fn in_order(has: impl Fn(char) -> bool) -> String {
    "rwm".chars().filter(|letter| has(*letter)).collect()
}

/// `/dev/char/1:3`; `char-136` for every minor number, `char-*` for every device of the kind.
fn name(rule: &DeviceRule) -> Option<String> {
    let kind = if rule.kind == 'b' { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{major}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: access.into(),
        }
    }

    fn listed(pairs: &[(&str, &str)]) -> Access {
        let pairs = pairs
            .iter()
            .map(|(name, access)| ((*name).to_owned(), (*access).to_owned()));
        Access::Listed(pairs.collect())
    }

    #[test]
    fn what_is_allowed_after_all_was_denied_is_listed() {
        let rules = [
            rule(false, 'a', None, None, "rwm"),
            rule(true, 'c', Some(1), Some(3), "rw"),
            rule(true, 'c', Some(136), None, "rwm"),
            rule(true, 'b', None, None, "m"),
            rule(true, 'c', Some(1), Some(3), "m"),
            rule(true, 'c', None, Some(7), "r"),
        ];
        let expected = [("/dev/char/1:3", "rwm"), ("char-136", "rwm"), ("block-*", "m")];
        assert_eq!(access(&rules), listed(&expected));
    }

    #[test]
    fn what_is_denied_again_is_taken_off_the_list() {
        let rules = [
            rule(true, 'c', Some(1), Some(3), "rwm"),
            rule(true, 'c', Some(1), Some(5), "r"),
            rule(false, 'c', Some(1), Some(3), "w"),
            rule(false, 'c', Some(1), Some(5), "rwm"),
        ];
        assert_eq!(access(&rules), listed(&[("/dev/char/1:3", "rm")]));
    }

    #[test]
    fn everything_is_everything_without_exceptions_alone() {
        let everything = rule(true, 'a', None, None, "rwm");
        let null = rule(true, 'c', Some(1), Some(3), "rwm");
        assert_eq!(access(&[everything.clone(), null]), Access::Everything);
        let but_memory = rule(false, 'c', Some(1), Some(1), "rwm");
        assert_eq!(access(&[everything, but_memory]), listed(&[]));
        assert_eq!(access(&[]), listed(&[]));
    }
}
