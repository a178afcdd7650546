//! The compiled filters, run by an interpreter of BPF, against the policy as it is written down.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/interpreter.rs"]
mod interpreter;

use std::collections::BTreeMap;

use conex_spec::Architecture;
use conex_spec::capabilities;
use conex_spec::seccomp::{Abi, Action, Operator, Profile, Rule, compile, default_profile};
use interpreter::run;
use proptest::prelude::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

fn default_for(set: u64, architecture: Architecture) -> Vec<u8> {
    compile(&default_profile(set), architecture).unwrap()
}

fn call(set: u64, name: &str, arguments: [u64; 6]) -> u32 {
    let abi = Abi::X86_64;
    run(
        &default_for(set, Architecture::X86_64),
        abi.audit(),
        abi.numbers()[name],
        arguments,
    )
}

fn profile(json: &str) -> Vec<u8> {
    compile(&Profile::parse(json).unwrap(), Architecture::X86_64).unwrap()
}

#[test]
fn ordinary_calls_are_allowed_and_dangerous_ones_are_not() {
    for name in [
        "read", "execve", "futex", "openat2", "clone", "socket", "ptrace", "mseal", "chmod",
    ] {
        assert_eq!(call(capabilities::DEFAULT, name, [0; 6]), ALLOW, "{name}");
    }
    for name in [
        "mount",
        "keyctl",
        "add_key",
        "init_module",
        "kexec_load",
        "userfaultfd",
        "io_uring_setup",
        "unshare",
    ] {
        assert_eq!(call(capabilities::DEFAULT, name, [0; 6]), EPERM, "{name}");
    }
}

#[test]
fn calls_that_need_a_capability_come_with_it() {
    let with = |name: &str| capabilities::DEFAULT | capabilities::parse(name).unwrap();
    for (capability, name) in [
        ("SYS_ADMIN", "mount"),
        ("SYS_ADMIN", "setns"),
        ("SYS_MODULE", "init_module"),
        ("SYS_TIME", "settimeofday"),
        ("SYSLOG", "syslog"),
        ("BPF", "bpf"),
        ("DAC_READ_SEARCH", "open_by_handle_at"),
        ("SYS_NICE", "mbind"),
    ] {
        assert_eq!(
            call(capabilities::DEFAULT, name, [0; 6]),
            EPERM,
            "{name} without CAP_{capability}"
        );
        assert_eq!(
            call(with(capability), name, [0; 6]),
            ALLOW,
            "{name} with CAP_{capability}"
        );
    }
    assert_eq!(call(capabilities::DEFAULT, "chroot", [0; 6]), ALLOW);
    assert_eq!(call(0, "chroot", [0; 6]), EPERM);
}

#[test]
fn clone_makes_threads_but_no_namespaces_without_sys_admin() {
    let admin = capabilities::DEFAULT | capabilities::parse("SYS_ADMIN").unwrap();
    let thread = 0x003d_0f00;
    for namespace in [
        0x2_0000_u64,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        let arguments = [thread | namespace, 0, 0, 0, 0, 0];
        assert_eq!(call(capabilities::DEFAULT, "clone", arguments), EPERM, "{namespace:#x}");
        assert_eq!(call(admin, "clone", arguments), ALLOW, "{namespace:#x}");
    }
    assert_eq!(call(capabilities::DEFAULT, "clone", [thread, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(capabilities::DEFAULT, "clone3", [0; 6]), ENOSYS);
    assert_eq!(call(admin, "clone3", [0; 6]), ALLOW);
}

#[test]
fn odd_families_of_sockets_and_odd_personalities_are_refused() {
    // DECnet, Econet, ATM, IrDA, WANPIPE, IUCV, CAIF, the kernel's ciphers, those of hypervisors, and what is newer than MCTP.
    let refused = [12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47, 1000];
    for family in 0..46_u64 {
        let expected = if refused.contains(&family) { EPERM } else { ALLOW };
        let said = call(capabilities::DEFAULT, "socket", [family, 0, 0, 0, 0, 0]);
        assert_eq!(said, expected, "{family}");
    }
    for family in refused {
        assert_eq!(call(capabilities::DEFAULT, "socket", [family, 0, 0, 0, 0, 0]), EPERM);
    }
    for allowed in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(
            call(capabilities::DEFAULT, "personality", [allowed, 0, 0, 0, 0, 0]),
            ALLOW,
            "{allowed:#x}"
        );
    }
    // READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE.
    for refused in [0x40_0000, 0x4_0000, 1 << 40] {
        assert_eq!(
            call(capabilities::DEFAULT, "personality", [refused, 0, 0, 0, 0, 0]),
            EPERM,
            "{refused:#x}"
        );
    }
}

#[test]
fn a_number_newer_than_the_profile_does_not_exist() {
    let program = default_for(capabilities::DEFAULT, Architecture::X86_64);
    assert_eq!(run(&program, Abi::X86_64.audit(), 1000, [0; 6]), ENOSYS);
}

#[test]
fn interfaces_are_told_apart() {
    let program = default_for(capabilities::DEFAULT, Architecture::X86_64);
    // 26 is ptrace on i386 and msync on x86_64; 21 is mount on i386 and access on x86_64.
    assert_eq!(run(&program, Abi::I386.audit(), 21, [0; 6]), EPERM);
    assert_eq!(run(&program, Abi::X86_64.audit(), 21, [0; 6]), ALLOW);
    assert_eq!(run(&program, Abi::X86_64.audit(), 0x4000_0000, [0; 6]), ENOSYS, "x32");
    assert_eq!(run(&program, Abi::Aarch64.audit(), 63, [0; 6]), KILL_PROCESS);
    let program = default_for(capabilities::DEFAULT, Architecture::Aarch64);
    assert_eq!(run(&program, Abi::Aarch64.audit(), 63, [0; 6]), ALLOW);
    assert_eq!(run(&program, Abi::Arm.audit(), 0x000f_0005, [0; 6]), ALLOW);
    assert_eq!(run(&program, Abi::X86_64.audit(), 0, [0; 6]), KILL_PROCESS);
}

#[test]
fn the_default_filter_is_short() {
    let program = default_for(capabilities::DEFAULT, Architecture::X86_64);
    assert!(program.len() / 8 < 360, "{} instructions", program.len() / 8);
}

#[test]
fn a_profile_of_a_client_is_understood() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"name":"chmod","action":"SCMP_ACT_ERRNO","args":[]},
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
            {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let numbers = Abi::X86_64.numbers();
    let ask = |name: &str, second: u64| run(&program, Abi::X86_64.audit(), numbers[name], [0, second, 0, 0, 0, 0]);
    assert_eq!(ask("chmod", 0), EPERM);
    assert_eq!(ask("mkdirat", 0), 0x0005_000d);
    assert_eq!(ask("kill", 9), KILL_PROCESS);
    assert_eq!(ask("kill", 15), ALLOW);
    assert_eq!(
        run(&program, Abi::X86_64.audit(), 1000, [0; 6]),
        ALLOW,
        "an allowing profile allows what is new"
    );
    assert_eq!(
        run(&program, Abi::I386.audit(), 1, [0; 6]),
        KILL_PROCESS,
        "i386 is not listed"
    );
}

#[test]
fn conditions_of_a_client_s_profile_depend_on_the_container() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
        {"names":["reboot"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
        {"names":["chroot"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_BPF"]}}]}"#;
    let profile = Profile::parse(text).unwrap();
    let allowed = |set: u64, kernel| {
        let rules = profile.for_container(set, kernel, Architecture::X86_64).rules;
        rules.iter().flat_map(|rule| rule.names.clone()).collect::<Vec<_>>()
    };
    assert_eq!(allowed(capabilities::parse("BPF").unwrap(), (6, 1)), ["bpf", "ptrace"]);
    assert_eq!(allowed(0, (4, 4)), ["chroot"]);
}

#[test]
fn wrong_profiles_are_refused_with_the_reason() {
    let refusal = |json: &str| Profile::parse(json).unwrap_err().to_string();
    assert!(refusal("{}").starts_with("decoding seccomp profile failed: missing field `defaultAction`"));
    assert!(refusal(r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#).contains("unknown action"));
    let both = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#;
    assert!(refusal(both).contains("'architectures' and 'archMap'"));
    let index = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(refusal(index).contains("no system call has an argument 6"));
}

/// The rules of a policy by number, and the highest number that it names.
struct Policy<'a> {
    default: Action,
    known: BTreeMap<u32, Vec<&'a Rule>>,
    highest: Option<u32>,
}

fn policy(profile: &Profile, abi: Abi) -> Policy<'_> {
    let numbers = abi.numbers();
    let mut known: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            known.entry(*number).or_default().push(rule);
        }
    }
    let highest = known.keys().copied().max();
    Policy {
        default: profile.default_action,
        known,
        highest,
    }
}

/// What the policy says, found by walking through the rules.
fn expected(policy: &Policy<'_>, number: u32, arguments: [u64; 6]) -> u32 {
    let code = |action: Action| match action {
        Action::Allow => ALLOW,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        other => panic!("{other:?} is not made by the strategies"),
    };
    let beyond = policy.highest.is_none_or(|highest| number > highest);
    let Some(relevant) = policy.known.get(&number) else {
        return match policy.default {
            Action::Errno(_) if beyond => ENOSYS,
            other => code(other),
        };
    };
    let matching = |rule: &&&Rule| {
        rule.arguments.iter().all(|comparison| {
            let argument = arguments[usize::from(comparison.index)];
            match comparison.operator {
                Operator::NotEqual => argument != comparison.value,
                Operator::Less => argument < comparison.value,
                Operator::LessOrEqual => argument <= comparison.value,
                Operator::Equal => argument == comparison.value,
                Operator::GreaterOrEqual => argument >= comparison.value,
                Operator::Greater => argument > comparison.value,
                Operator::MaskedEqual => argument & comparison.value == comparison.value_two,
            }
        })
    };
    let plain = relevant.iter().find(|rule| rule.arguments.is_empty());
    plain
        .or_else(|| relevant.iter().find(matching))
        .map_or(code(policy.default), |rule| code(rule.action))
}

/// Values around which comparisons of two halves go wrong.
fn values() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(40),
        Just(u64::MAX),
        Just(0xffff_ffff),
        Just(0x1_0000_0000),
        Just(0x1_0000_0001),
        Just(0x2_0000_0000),
        0..50_u64,
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
    ]
}

fn json_profile() -> impl Strategy<Value = String> {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let argument = (
        0..6_u8,
        values(),
        values(),
        proptest::sample::select(operators.to_vec()),
    )
        .prop_map(|(index, value, two, op)| {
            format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#)
        });
    let names = [
        "read",
        "write",
        "clone",
        "socket",
        "mount",
        "personality",
        "ioctl",
        "mseal",
        "nonsense",
    ];
    let action = prop_oneof![Just("SCMP_ACT_ALLOW"), Just("SCMP_ACT_ERRNO")];
    let rule = (
        proptest::sample::select(names.to_vec()),
        action.clone(),
        proptest::collection::vec(argument, 0..4),
    )
        .prop_map(|(name, action, arguments)| {
            format!(
                r#"{{"names":["{name}"],"action":"{action}","errnoRet":5,"args":[{}]}}"#,
                arguments.join(",")
            )
        });
    (action, proptest::collection::vec(rule, 0..12)).prop_map(|(default, rules)| {
        format!(r#"{{"defaultAction":"{default}","archMap":[{{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}}],"syscalls":[{}]}}"#, rules.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_default_filter_says_what_the_policy_says(
        set in any::<u64>(),
        arm in any::<bool>(),
        arguments in proptest::array::uniform6(values()),
    ) {
        let architecture = if arm { Architecture::Aarch64 } else { Architecture::X86_64 };
        let profile = default_profile(set & capabilities::ALL);
        let program = compile(&profile, architecture).unwrap();
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].into_iter().filter(|abi| abi.runs_on(architecture)) {
            let highest = abi.numbers().values().copied().filter(|number| *number < 1000).max().unwrap();
            let policy = policy(&profile, abi);
            let step = 1 + (set % 7) as u32;
            for number in (0..=highest + 2).step_by(step as usize) {
                prop_assert_eq!(
                    run(&program, abi.audit(), number, arguments),
                    expected(&policy, number, arguments),
                    "{:?} {}", abi, number
                );
            }
        }
    }

    #[test]
    fn any_profile_is_compiled_to_what_it_says(
        text in json_profile(),
        arguments in proptest::array::uniform6(values()),
    ) {
        let profile = Profile::parse(&text).unwrap();
        let program = compile(&profile, Architecture::X86_64).unwrap();
        for abi in [Abi::X86_64, Abi::I386] {
            let policy = policy(&profile, abi);
            for number in 0..480 {
                prop_assert_eq!(
                    run(&program, abi.audit(), number, arguments),
                    expected(&policy, number, arguments),
                    "{:?} {}", abi, number
                );
            }
        }
    }
}
