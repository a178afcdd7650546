//! Docker's JSON format of profiles, of which the runtime specification's `linux.seccomp` is a subset.

use std::path::PathBuf;

use serde::Deserialize;

use super::profile::{Action, Architectures, Comparison, Condition, Listener, Operator, Profile, Rule};
use crate::capabilities;
use crate::error::{Error, Result};

const EPERM: u16 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureEntry>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<PathBuf>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureEntry {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: Option<u64>,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Profile {
    /// Parses a profile.
    pub fn parse(json: &str) -> Result<Profile> {
        let document: Document = serde_json::from_str(json).map_err(|error| Error::SeccompDecode {
            reason: error.to_string(),
        })?;
        let mut rules = Vec::new();
        for entry in document.syscalls.unwrap_or_default() {
            rules.extend(parse_entry(entry)?);
        }
        let path = document.listener_path.filter(|path| !path.as_os_str().is_empty());
        let profile = Profile {
            default_action: action(&document.default_action, document.default_errno_ret)?,
            architectures: architectures(document.architectures, document.arch_map)?,
            flags: flags(&document.flags.unwrap_or_default())?,
            listener: path.map(|path| Listener {
                path,
                metadata: document.listener_metadata.unwrap_or_default(),
            }),
            rules,
        };
        if profile.default_action == Action::Notify {
            // Not even the agent's answer could be waited for.
            return Err(refused("SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        if profile.notifies() && profile.listener.is_none() {
            return Err(refused("SCMP_ACT_NOTIFY needs a listenerPath"));
        }
        Ok(profile)
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::SeccompProfile { reason: reason.into() }
}

fn architectures(listed: Option<Vec<String>>, mapped: Option<Vec<ArchitectureEntry>>) -> Result<Architectures> {
    let listed = listed.unwrap_or_default();
    let mapped = mapped.unwrap_or_default();
    if !listed.is_empty() && !mapped.is_empty() {
        return Err(refused(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either",
        ));
    }
    if mapped.is_empty() {
        return Ok(Architectures::Listed(listed));
    }
    let pair = |entry: ArchitectureEntry| (entry.architecture, entry.sub_architectures.unwrap_or_default());
    Ok(Architectures::Mapped(mapped.into_iter().map(pair).collect()))
}

/// Values of seccomp(2). `TSYNC` has no meaning for a process with one thread, and is passed on all the same.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", 2),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 4),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 32),
];

fn flags(names: &[String]) -> Result<u32> {
    let flag = |name: &String| {
        let found = FLAGS.iter().find(|(known, _)| known == name);
        found
            .map(|(_, bit)| *bit)
            .ok_or_else(|| refused(format!("unknown flag {name:?}")))
    };
    names.iter().try_fold(0, |flags, name| Ok(flags | flag(name)?))
}

/// One rule, or one per comparison where an argument is compared twice: libseccomp cannot say "and" of one argument, and
/// runc takes such an entry as "or".
fn parse_entry(entry: Entry) -> Result<Vec<Rule>> {
    let names = match (
        entry.name.filter(|name| !name.is_empty()),
        entry.names.unwrap_or_default(),
    ) {
        (Some(_), names) if !names.is_empty() => {
            return Err(refused(
                "both 'name' and 'names' are specified in the seccomp profile, use either",
            ));
        }
        (Some(name), _) => vec![name],
        (None, names) => names,
    };
    let comparisons = entry
        .args
        .unwrap_or_default()
        .iter()
        .map(comparison)
        .collect::<Result<Vec<_>>>()?;
    let rule = Rule {
        names,
        action: action(&entry.action, entry.errno_ret)?,
        arguments: Vec::new(),
        condition: condition(entry.includes.unwrap_or_default(), entry.excludes.unwrap_or_default())?,
    };
    let twice = comparisons
        .iter()
        .enumerate()
        .any(|(place, one)| comparisons[..place].iter().any(|other| other.index == one.index));
    if twice {
        return Ok(comparisons
            .into_iter()
            .map(|one| Rule {
                arguments: vec![one],
                ..rule.clone()
            })
            .collect());
    }
    Ok(vec![Rule {
        arguments: comparisons,
        ..rule
    }])
}

fn action(name: &str, errno: Option<u16>) -> Result<Action> {
    match name {
        "SCMP_ACT_ALLOW" => Ok(Action::Allow),
        "SCMP_ACT_LOG" => Ok(Action::Log),
        "SCMP_ACT_ERRNO" => Ok(Action::Errno(errno.unwrap_or(EPERM))),
        "SCMP_ACT_TRACE" => Ok(Action::Trace(errno.unwrap_or(EPERM))),
        "SCMP_ACT_TRAP" => Ok(Action::Trap),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::KillProcess),
        "SCMP_ACT_NOTIFY" => Ok(Action::Notify),
        _ => Err(refused(format!("unknown action {name:?}"))),
    }
}

const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_EQ", Operator::Equal),
    ("SCMP_CMP_GE", Operator::GreaterOrEqual),
    ("SCMP_CMP_GT", Operator::Greater),
    ("SCMP_CMP_LE", Operator::LessOrEqual),
    ("SCMP_CMP_LT", Operator::Less),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEqual),
    ("SCMP_CMP_NE", Operator::NotEqual),
];

/// Names that profiles may use, each list in the order of the alphabet.
#[derive(Debug)]
pub struct Vocabulary {
    /// Actions.
    pub actions: Vec<&'static str>,
    /// Operators of comparisons.
    pub operators: Vec<&'static str>,
    /// Flags of a filter.
    pub flags: Vec<&'static str>,
    /// Binary interfaces whose tables there are.
    pub architectures: Vec<&'static str>,
}

/// What `Profile::parse` understands.
#[must_use]
pub fn vocabulary() -> Vocabulary {
    Vocabulary {
        actions: ACTIONS.to_vec(),
        operators: OPERATORS.iter().map(|(name, _)| *name).collect(),
        flags: FLAGS.iter().map(|(name, _)| *name).collect(),
        architectures: vec![
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X86_64",
        ],
    }
}

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

fn comparison(argument: &Argument) -> Result<Comparison> {
    let found = OPERATORS.iter().find(|(name, _)| *name == argument.op);
    let (_, operator) = *found.ok_or_else(|| refused(format!("unknown operator {:?}", argument.op)))?;
    if argument.index > 5 {
        return Err(refused(format!("no system call has an argument {}", argument.index)));
    }
    let value_two = argument.value_two.unwrap_or(0);
    Ok(Comparison {
        index: argument.index,
        operator,
        value: argument.value,
        value_two,
    })
}

fn condition(includes: Filter, excludes: Filter) -> Result<Condition> {
    let set = |names: Option<Vec<String>>| {
        names
            .unwrap_or_default()
            .iter()
            .try_fold(0, |set, name| capabilities::parse(name).map(|bit| set | bit))
    };
    Ok(Condition {
        capabilities: set(includes.caps)?,
        without_capabilities: set(excludes.caps)?,
        architectures: includes.arches.unwrap_or_default(),
        without_architectures: excludes.arches.unwrap_or_default(),
        kernel: includes.min_kernel.as_deref().map(kernel_version).transpose()?,
    })
}

/// Parses `4.8`.
fn kernel_version(text: &str) -> Result<(u32, u32)> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| refused(format!("invalid kernel version {text:?}, expected '<kernel>.<major>'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Abi;

    #[test]
    fn every_name_that_is_told_is_understood() {
        let words = vocabulary();
        assert!(words.actions.iter().all(|name| action(name, None).is_ok()));
        assert!(words.architectures.iter().all(|name| Abi::parse(name).is_some()));
        let flags_of = |name: &&str| flags(&[(*name).to_owned()]).is_ok();
        assert!(words.flags.iter().all(flags_of));
        assert!(
            flags(&["SECCOMP_FILTER_FLAG_NEW_LISTENER".to_owned()]).is_err(),
            "it is ours to set"
        );
    }
}
