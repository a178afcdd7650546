//! A policy as data.

use std::path::PathBuf;

use crate::facts::Architecture;

/// Which system calls are let through, and what happens to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to a call that no rule names.
    pub default_action: Action,
    /// Which binary interfaces are filtered by the rules; the others are killed.
    pub architectures: Architectures,
    /// Flags of `SECCOMP_SET_MODE_FILTER` (seccomp(2)).
    pub flags: u32,
    /// Who listens to what is asked.
    pub listener: Option<Listener>,
    /// The rules. A rule without arguments wins over those with; else the first that matches wins.
    pub rules: Vec<Rule>,
}

/// An agent that is asked about system calls (`listenerPath`, `listenerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its UNIX socket.
    pub path: PathBuf,
    /// What it is told besides.
    pub metadata: String,
}

/// Which binary interfaces a profile covers; the native one always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Architectures {
    /// These, in libseccomp's names (`SCMP_ARCH_X86`).
    Listed(Vec<String>),
    /// For each native one its sub-architectures.
    Mapped(Vec<(String, Vec<String>)>),
}

/// What happens to some system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of the calls; those that an architecture does not have are passed over.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// All must hold for the rule to match.
    pub arguments: Vec<Comparison>,
    /// For which containers and hosts the rule stands.
    pub condition: Condition,
}

/// What the kernel does with a call (seccomp(2), "Return values").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Carry it out.
    Allow,
    /// Carry it out and log it.
    Log,
    /// Answer with this error.
    Errno(u16),
    /// Hand it to a tracer with this datum.
    Trace(u16),
    /// Send `SIGSYS`.
    Trap,
    /// Kill the thread.
    KillThread,
    /// Kill the process.
    KillProcess,
    /// Ask whoever listens (seccomp_unotify(2)).
    Notify,
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what; for `MaskedEqual` the mask.
    pub value: u64,
    /// For `MaskedEqual` the value.
    pub value_two: u64,
}

/// How an argument is compared, as unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `argument != value`.
    NotEqual,
    /// `argument < value`.
    Less,
    /// `argument <= value`.
    LessOrEqual,
    /// `argument == value`.
    Equal,
    /// `argument >= value`.
    GreaterOrEqual,
    /// `argument > value`.
    Greater,
    /// `argument & value == value_two`.
    MaskedEqual,
}

/// For which containers and hosts a rule stands (`includes` and `excludes`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The container has all of these capabilities.
    pub capabilities: u64,
    /// The container has none of these.
    pub without_capabilities: u64,
    /// The host is one of these, in Go's names (`amd64`); empty for any.
    pub architectures: Vec<String>,
    /// The host is none of these.
    pub without_architectures: Vec<String>,
    /// The kernel is at least this.
    pub kernel: Option<(u32, u32)>,
}

impl Condition {
    fn holds(&self, capabilities: u64, kernel: (u32, u32), architecture: Architecture) -> bool {
        let name = match architecture {
            Architecture::X86_64 => "amd64",
            Architecture::Aarch64 => "arm64",
        };
        self.capabilities & !capabilities == 0
            && self.without_capabilities & capabilities == 0
            && (self.architectures.is_empty() || self.architectures.iter().any(|other| other == name))
            && !self.without_architectures.iter().any(|other| other == name)
            && self.kernel.is_none_or(|least| kernel >= least)
    }
}

impl Profile {
    /// Whether any call is asked about.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// The profile with the rules that stand for a container, their conditions used up.
    #[must_use]
    pub fn for_container(&self, capabilities: u64, kernel: (u32, u32), architecture: Architecture) -> Profile {
        let rules = self
            .rules
            .iter()
            .filter(|rule| rule.condition.holds(capabilities, kernel, architecture))
            .map(|rule| Rule {
                condition: Condition::default(),
                ..rule.clone()
            })
            .collect();
        Profile { rules, ..self.clone() }
    }
}

impl Action {
    /// What a filter returns for it.
    pub(crate) fn code(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Trace(datum) => 0x7ff0_0000 | u32::from(datum),
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Trap => 0x0003_0000,
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
            Action::Notify => 0x7fc0_0000,
        }
    }
}
