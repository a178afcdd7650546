//! The filter of a container under this runtime and under runc, read back from the kernel: both decide the same about every
//! system call and a sample of arguments, or `oracle/filters.txt` says why not.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "../../spec/tests/support/interpreter.rs"]
mod interpreter;
#[path = "oracle/reasons.rs"]
mod reasons;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bundle::{Bundle, CONEX, runc};
use conex_spec::seccomp::{Abi, Profile, compile, program};
use conex_spec::security::SeccompChoice;
use conex_spec::{Architecture, HostFacts, capabilities};
use interpreter::run;
use reasons::{Difference, Reason};
use serde_json::{Value, json};

/// Numbers beyond the tables that are looked at.
const BEYOND: u32 = 200;

/// First number of x32 calls.
const X32: u32 = 0x4000_0000;

/// What a container's process has been given for this specification.
fn filter(runtime: &Path, change: impl Fn(&mut Value)) -> Vec<u8> {
    let bundle = Bundle::of(runtime, |specification| {
        bundle::docker(specification);
        specification["process"]["args"] = json!(["sleep", "60"]);
        change(specification);
    });
    bundle::write_docker_files(&bundle);
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"), "{runtime:?}");
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let mut filters = conex_sys::seccomp::of_process(pid.try_into().unwrap()).unwrap();
    bundle.succeed(&["delete", "--force", &bundle.id]);
    assert_eq!(filters.len(), 1, "{runtime:?} installs one filter");
    filters.remove(0)
}

/// Docker's policy, with the calls that only a processor of the other architecture has.
fn for_arm(specification: &mut Value) {
    let seccomp = &mut specification["linux"]["seccomp"];
    seccomp["architectures"] = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    let rules = seccomp["syscalls"].as_array_mut().unwrap();
    let own = [
        "arm_fadvise64_64",
        "arm_sync_file_range",
        "sync_file_range2",
        "breakpoint",
        "cacheflush",
        "set_tls",
    ];
    rules.push(json!({"names": own, "action": "SCMP_ACT_ALLOW"}));
}

fn docker() -> Value {
    let mut specification = json!({"linux": {"cgroupsPath": ""}});
    bundle::docker(&mut specification);
    specification
}

/// Arguments that a policy of these constants may tell apart: each at each place, with nothing or everything around it.
fn sample(abi: Abi, specification: &Value) -> Vec<[u64; 6]> {
    let mut values = BTreeSet::from([0, 1, 2, u64::from(u32::MAX), u64::MAX]);
    for rule in specification["linux"]["seccomp"]["syscalls"].as_array().unwrap() {
        for argument in rule["args"].as_array().into_iter().flatten() {
            let value = argument["value"].as_u64().unwrap();
            values.extend([value - value.min(1), value, value + 1, value | 1 << 32, !value]);
            values.extend((0..64).map(|bit| 1 << bit).filter(|bit| value & bit != 0));
        }
    }
    if matches!(abi, Abi::I386 | Abi::Arm) {
        // The kernel has no other arguments for it.
        values.retain(|value| *value <= u64::from(u32::MAX));
    }
    let most = *values.last().unwrap();
    let around = |value| [0, most].map(|other| (0..6).map(move |place| at(place, value, other)));
    values.into_iter().flat_map(around).flatten().collect()
}

fn at(place: usize, value: u64, other: u64) -> [u64; 6] {
    let mut arguments = [other; 6];
    arguments[place] = value;
    arguments
}

/// Numbers of an interface by name; those between and beyond by their number.
fn calls(abi: Abi) -> BTreeMap<u32, String> {
    let mut calls: BTreeMap<u32, String> = abi
        .numbers()
        .into_iter()
        .map(|(name, number)| (number, name.to_owned()))
        .collect();
    // The private calls of ARM are far beyond the others.
    let last = calls.keys().copied().filter(|number| *number < 0xf_0000).max().unwrap();
    let numbers = (0..last + BEYOND).chain([X32 - 1, u32::MAX - 1, u32::MAX]);
    for number in numbers {
        calls.entry(number).or_insert_with(|| format!("number {number}"));
    }
    if abi == Abi::X86_64 {
        calls.extend((0..last + BEYOND).map(|number| (X32 | number, format!("x32 {number}"))));
    }
    calls
}

fn words(verdict: u32) -> String {
    match verdict {
        0x7fff_0000 => "allow".to_owned(),
        0x8000_0000 => "kill the process".to_owned(),
        0 => "kill the thread".to_owned(),
        other if other >> 16 == 5 => format!("error {}", other & 0xffff),
        other => format!("{other:#x}"),
    }
}

/// Decisions that differ and have no reason.
struct Comparison<'a> {
    /// Whose filter is compared with runc's.
    name: &'a str,
    ours: &'a [u8],
    theirs: &'a [u8],
    reasons: &'a [Reason],
    unexplained: BTreeSet<String>,
}

impl Comparison<'_> {
    /// Every call of an interface, with every argument of the sample.
    fn interface(&mut self, abi: Abi) {
        let (sample, interface) = (sample(abi, &docker()), format!("{abi:?}"));
        for (number, call) in calls(abi) {
            for arguments in &sample {
                self.decide(&interface, (abi.audit(), number, &call), *arguments);
            }
        }
    }

    /// Interfaces that the policy does not speak about.
    fn foreign(&mut self) {
        // RISC-V, 64-bit PowerPC and nothing.
        for audit in [0xc000_00f3, 0xc000_0015, 0] {
            self.decide("foreign", (audit, 1, &format!("interface {audit:#x}")), [0; 6]);
        }
    }

    fn decide(&mut self, interface: &str, (audit, number, call): (u32, u32, &str), arguments: [u64; 6]) {
        let decide = |program| run(program, audit, number, arguments);
        let (ours, theirs) = (decide(self.ours), decide(self.theirs));
        if ours == theirs {
            return;
        }
        let difference = Difference {
            peer: "runc",
            bundle: self.name,
            file: interface,
            line: call,
            ours: &words(ours),
            theirs: &words(theirs),
        };
        if self
            .reasons
            .iter()
            .filter(|reason| reason.explains(&difference))
            .count()
            == 0
        {
            self.unexplained.insert(difference.to_string());
        }
    }
}

/// Both filters of ours for an architecture, that of a bundle and that of the engine, beside runc's.
fn compare(architecture: Architecture, bundle: &[u8], theirs: &[u8], reasons: &[Reason]) -> BTreeSet<String> {
    let facts = HostFacts {
        architecture,
        ..HostFacts::default()
    };
    let engine = program(&SeccompChoice::Default, capabilities::DEFAULT, &facts)
        .unwrap()
        .unwrap();
    let mut unexplained = BTreeSet::new();
    for (name, ours) in [("bundle", bundle), ("engine", &engine)] {
        let mut comparison = Comparison {
            name,
            ours,
            theirs,
            reasons,
            unexplained: BTreeSet::new(),
        };
        let interfaces = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm];
        for abi in interfaces.into_iter().filter(|abi| abi.runs_on(architecture)) {
            comparison.interface(abi);
        }
        comparison.foreign();
        unexplained.append(&mut comparison.unexplained);
    }
    unexplained
}

#[test]
fn every_call_is_decided_as_by_runc() {
    let reasons = reasons::parse(include_str!("oracle/filters.txt"));
    let mut unexplained = compare(
        Architecture::X86_64,
        &filter(Path::new(CONEX), |_| {}),
        &filter(&runc(), |_| {}),
        &reasons,
    );
    // libseccomp writes filters of other architectures as well.
    let theirs = filter(&runc(), |specification| {
        for_arm(specification);
        // Without the calls of its own architecture the program would not run.
        let architectures = specification["linux"]["seccomp"]["architectures"]
            .as_array_mut()
            .unwrap();
        architectures.push(json!("SCMP_ARCH_X86_64"));
    });
    let mut policy = docker();
    for_arm(&mut policy);
    let policy = Profile::parse(&policy["linux"]["seccomp"].to_string()).unwrap();
    let ours = compile(&policy, Architecture::Aarch64).unwrap();
    unexplained.extend(compare(Architecture::Aarch64, &ours, &theirs, &reasons));

    let list: Vec<String> = unexplained.into_iter().collect();
    assert!(list.is_empty(), "decisions without a reason:\n{}", list.join("\n"));
    let unmet: Vec<String> = reasons.iter().filter_map(Reason::unmet).collect();
    assert!(unmet.is_empty(), "reasons for nothing:\n{}", unmet.join("\n"));
}
