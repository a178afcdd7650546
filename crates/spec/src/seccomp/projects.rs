//! What a container may not ask a file system for that is held to a limit by a project of its own (quotactl(2)).
//!
//! The kernel lets the owner of a file take it out of its project, except in a user namespace: outside of one, root in a
//! container could write as much as the disk has.

use super::profile::{Action, Comparison, Condition, Operator, Profile, Rule};

/// `EPERM`.
const REFUSED: Action = Action::Errno(1);

/// Requests that change the project of a file, or whether what is made in a directory belongs to its project:
/// `FS_IOC_FSSETXATTR`, `FS_IOC_SETFLAGS` and that of 32-bit programs (`linux/fs.h`).
const REQUESTS: [u64; 3] = [0x401c_5820, 0x4008_6602, 0x4004_6602];

/// file_setattr(2), since Linux 6.17.
const CALL: &str = "file_setattr";

impl Profile {
    /// The same, with what leads out of a project refused.
    #[must_use]
    pub fn within_project(mut self) -> Self {
        let mut rules: Vec<Rule> = REQUESTS.into_iter().map(refused).collect();
        // One without arguments would win.
        for rule in self.rules.iter_mut().filter(|rule| rule.arguments.is_empty()) {
            let before = rule.names.len();
            rule.names.retain(|name| name != "ioctl");
            if rule.names.len() < before {
                rules.push(ioctl(rule.action, Operator::GreaterOrEqual, (0, 0)));
            }
        }
        for rule in &mut self.rules {
            rule.names.retain(|name| name != CALL);
        }
        rules.append(&mut self.rules);
        rules.push(Rule {
            names: vec![CALL.to_owned()],
            arguments: Vec::new(),
            ..refused(0)
        });
        self.rules = rules;
        self
    }
}

fn refused(request: u64) -> Rule {
    // The kernel looks at the lower half alone.
    ioctl(REFUSED, Operator::MaskedEqual, (0xffff_ffff, request))
}

fn ioctl(action: Action, operator: Operator, (value, value_two): (u64, u64)) -> Rule {
    Rule {
        names: vec!["ioctl".to_owned()],
        action,
        arguments: vec![Comparison {
            index: 1,
            operator,
            value,
            value_two,
        }],
        condition: Condition::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::default_profile;

    /// What happens to a request: the first rule that matches wins, and one without arguments over those.
    fn answer(profile: &Profile, request: u64) -> Action {
        let named = |rule: &&Rule| rule.names.iter().any(|name| name == "ioctl");
        let matches = |rule: &&Rule| match rule.arguments.first() {
            None => true,
            Some(Comparison {
                operator: Operator::MaskedEqual,
                value,
                value_two,
                ..
            }) => request & value == *value_two,
            Some(comparison) => comparison.operator == Operator::GreaterOrEqual && request >= comparison.value,
        };
        let rules = || profile.rules.iter().filter(named);
        let always = rules().find(|rule| rule.arguments.is_empty());
        let found = always.or_else(|| rules().find(matches));
        found.map_or(profile.default_action, |rule| rule.action)
    }

    #[test]
    fn only_what_leads_out_of_a_project_is_refused() {
        let plain = default_profile(0);
        assert_eq!(answer(&plain, 0x401c_5820), Action::Allow, "the control");
        let within = plain.within_project();
        for request in REQUESTS {
            assert_eq!(answer(&within, request), REFUSED);
            assert_eq!(
                answer(&within, request | (1 << 40)),
                REFUSED,
                "the upper half says nothing"
            );
        }
        // TCGETS, FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR
        for request in [0x5401, 0x8008_6601, 0x801c_581f] {
            assert_eq!(answer(&within, request), Action::Allow);
        }
        let call = within
            .rules
            .iter()
            .find(|rule| rule.names.iter().any(|name| name == CALL));
        assert_eq!(call.map(|rule| rule.action), Some(REFUSED));
    }
}
