//! The machines, and what is run in each.

use std::path::Path;

use super::Extent;
use super::base::Base;
use super::docker::docker;
use super::selinux::policy;
use crate::packages;
use crate::run::Outcome;

/// A test program (that of `crates/runtime` begins with `runtime/`) and its arguments.
pub(super) type Test = (&'static str, &'static [&'static str]);

/// A machine.
pub(super) struct Flavour {
    pub(super) name: &'static str,
    /// What is on its disk besides the tests.
    pub(super) base: Base,
    /// Puts more into the tree of its root; returns the lines of a shell that make it ready before the tests.
    pub(super) extra: Option<fn(&Path) -> Outcome<String>>,
    /// More programs that its tests call, at their own places.
    pub(super) programs: &'static [(&'static str, &'static str)],
    /// Words of the kernel's command line.
    pub(super) options: &'static str,
    all: &'static [Test],
    small: &'static [Test],
}

impl Flavour {
    pub(super) fn tests(&self, extent: Extent) -> &'static [Test] {
        match extent {
            Extent::All => self.all,
            Extent::Small => self.small,
        }
    }
}

pub(super) const FLAVOURS: [Flavour; 7] = [
    Flavour {
        name: "busybox",
        base: Base::Busybox,
        extra: None,
        // One test of user namespaces limits a disk.
        programs: &packages::QUOTAS,
        options: "apparmor=1 security=apparmor",
        all: &[
            APPARMOR,
            ("isolation", &[]),
            ("namespaces", &[]),
            ("userns", &[]),
            ("network", &[]),
            ("containers", &[]),
            ("crash", &[]),
            ("embedded", &[]),
            CLOCK,
        ],
        small: &[APPARMOR, ("isolation", &[]), ("network", &[]), RUN, CRASH, CLOCK],
    },
    Flavour {
        name: "limits",
        base: Base::Busybox,
        extra: None,
        programs: &packages::LIMITS,
        options: "",
        all: &[
            ("limits", &[]),
            ("runtime/limit_files", &["--ignored"]),
            // The first is of a kernel without a module that the others load.
            ("rates", &["--ignored"]),
            ("rates", &[]),
        ],
        small: &[],
    },
    Flavour {
        name: "reference",
        base: Base::Busybox,
        extra: Some(docker),
        programs: &packages::LIMITS,
        options: "",
        all: &[DIFFERENTIAL],
        small: &[],
    },
    Flavour {
        name: "runtime",
        base: Base::Busybox,
        extra: None,
        programs: &packages::PEERS,
        options: "",
        all: &[
            ("runtime/commands", &[]),
            ("runtime/lifecycle", &[]),
            ("runtime/process", &[]),
            ("runtime/mounts", &[]),
            ("runtime/bad_input", &[]),
            ("runtime/differential", &[]),
            ("runtime/user_namespace", &[]),
            ("runtime/seccomp_agent", &[]),
            ("runtime/default_filter", &[]),
            ("runtime/escapes", &[]),
            ("runtime/oracle", &[]),
        ],
        small: &[],
    },
    Flavour {
        name: "quotas",
        base: Base::Busybox,
        extra: None,
        programs: &packages::QUOTAS,
        options: "",
        all: &[QUOTAS],
        small: &[],
    },
    Flavour {
        name: "selinux",
        base: Base::Busybox,
        extra: Some(policy),
        programs: &[],
        options: "security=selinux enforcing=1",
        all: &[LABELS, ("selinux", &["--ignored"])],
        small: &[LABELS],
    },
    Flavour {
        name: "systemd",
        base: Base::Debian,
        extra: None,
        programs: &[],
        options: "systemd.show_status=false",
        all: &[SYSTEMD, RUNTIME, RUN, CRASH],
        small: &[],
    },
];

/// What both engines make of the same requests with version 2 of control groups. The host has version 1 of them, or both.
const DIFFERENTIAL: Test = ("differential", &["--ignored", "limits::", "usage::"]);

/// The machine's kernel has quotas of projects: the host's may not. It has no btrfs tools.
const QUOTAS: Test = (
    "quotas",
    &[
        "--include-ignored",
        "a_project_",
        "a_disk_holds_a_container_of_overlay2",
        "a_daemon_killed_at_a_named_point_of_a_disk",
    ],
);

/// The clock is the machine's own.
const CLOCK: Test = ("failures", &["--ignored", "a_clock_that_jumps_holds_nothing_up"]);

/// The machine's kernel has AppArmor: the host's may not.
const APPARMOR: Test = ("apparmor", &["--ignored"]);

/// The machine's kernel has SELinux, with a policy.
const LABELS: Test = ("runtime/selinux", &["--ignored"]);

/// Control groups by systemd, which runs this machine alone.
const SYSTEMD: Test = ("systemd", &["--ignored"]);
const RUNTIME: Test = ("runtime/systemd", &["--ignored"]);

const RUN: Test = (
    "containers",
    &[
        "a_container_runs_says_something_and_is_gone",
        "a_detached_container_is_listed_inspected_stopped_and_removed",
        "exit_codes_are_those_of_docker",
    ],
);

const CRASH: Test = (
    "crash",
    &["what_runs_outlives_the_daemon_and_what_ended_meanwhile_is_known"],
);
