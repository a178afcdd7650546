//! From a profile to BPF.

use super::assembly::{ARCHITECTURE, Instruction, NUMBER, Test, and, argument, branch, bytes, give, load, test};
use super::profile::{Action, Architectures, Comparison, Operator, Profile};
use super::table::Abi;
use super::tree::tree;
use super::verdict::{Verdict, ranges};
use crate::error::{Error, Result};
use crate::facts::Architecture;

/// The kernel's limit (`BPF_MAXINSNS`).
const MAXIMUM: usize = 4096;

/// First number of x32 calls on x86_64 (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

const ENOSYS: u16 = 38;

/// Compiles a profile to an array of `struct sock_filter`. Conditions of rules are not looked at: `Profile::for_container`
/// has used them up.
pub fn compile(profile: &Profile, architecture: Architecture) -> Result<Vec<u8>> {
    let mut code = vec![give(Action::KillProcess.code())];
    // The native interface is tested first: it stands last in this loop.
    for abi in interfaces(profile, architecture).into_iter().rev() {
        code = branch(Test::Equal, abi.audit(), interface_code(profile, abi), code);
    }
    code.insert(0, load(ARCHITECTURE));
    if code.len() > MAXIMUM {
        let reason = format!(
            "{} instructions are more than the kernel's limit of {MAXIMUM}",
            code.len()
        );
        return Err(Error::SeccompProfile { reason });
    }
    Ok(bytes(&code))
}

/// The interfaces that a profile covers on an architecture, the native one first.
fn interfaces(profile: &Profile, architecture: Architecture) -> Vec<Abi> {
    let native = Abi::native(architecture);
    let names: Vec<&String> = match &profile.architectures {
        Architectures::Listed(names) => names.iter().collect(),
        Architectures::Mapped(entries) => {
            let entry = entries.iter().filter(|(name, _)| Abi::parse(name) == Some(native));
            entry.flat_map(|(_, subordinate)| subordinate).collect()
        }
    };
    let mut interfaces = vec![native];
    for abi in names.iter().filter_map(|name| Abi::parse(name)) {
        if abi.runs_on(architecture) && !interfaces.contains(&abi) {
            interfaces.push(abi);
        }
    }
    interfaces
}

fn interface_code(profile: &Profile, abi: Abi) -> Vec<Instruction> {
    let mut ranges = ranges(profile, abi);
    if abi == Abi::X86_64 {
        ranges.push((X32, Verdict::Always(Action::Errno(ENOSYS))));
    }
    let mut code = vec![load(NUMBER)];
    code.extend(tree(&ranges));
    code
}

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum Way {
    /// To the next instruction.
    On,
    /// Over this many instructions, to the end of the comparison: it holds.
    Holds(u8),
    /// To the end of the case: it does not match.
    Fails,
}

/// An instruction whose jumps are not yet numbers.
enum Draft {
    Plain(Instruction),
    Test(Test, u32, Way, Way),
}

/// The comparisons of one case and its return; falls through to what comes after when one of them fails.
pub(super) fn case_code(all: &[Comparison], action: Action) -> Vec<Instruction> {
    let mut drafts: Vec<Draft> = all.iter().flat_map(comparison_code).collect();
    drafts.push(Draft::Plain(give(action.code())));
    let length = drafts.len();
    // A case has at most six comparisons of at most six instructions, so that every jump fits into a byte.
    let distance = |place: usize, way: Way| match way {
        Way::On => 0,
        Way::Holds(over) => over,
        Way::Fails => u8::try_from(length - place - 1).unwrap_or(u8::MAX),
    };
    let place_jumps = |(place, draft): (usize, Draft)| match draft {
        Draft::Plain(instruction) => instruction,
        Draft::Test(condition, operand, when_true, when_false) => test(
            condition,
            operand,
            distance(place, when_true),
            distance(place, when_false),
        ),
    };
    drafts.into_iter().enumerate().map(place_jumps).collect()
}

/// Compares the high half first, then, where that is equal, the low half.
fn comparison_code(comparison: &Comparison) -> Vec<Draft> {
    use Draft::{Plain, Test as Jump};
    use Way::{Fails, Holds, On};

    let (low, high) = argument(comparison.index);
    let (value_low, value_high) = halves(comparison.value);
    let exact = |masks: Option<(u32, u32)>, (low_value, high_value): (u32, u32)| {
        let mut code = vec![Plain(load(high))];
        code.extend(masks.map(|(_, mask)| Plain(and(mask))));
        code.extend([Jump(Test::Equal, high_value, On, Fails), Plain(load(low))]);
        code.extend(masks.map(|(mask, _)| Plain(and(mask))));
        code.push(Jump(Test::Equal, low_value, On, Fails));
        code
    };
    let above = |last: Test| {
        vec![
            Plain(load(high)),
            Jump(Test::Greater, value_high, Holds(3), On),
            Jump(Test::Equal, value_high, On, Fails),
            Plain(load(low)),
            Jump(last, value_low, On, Fails),
        ]
    };
    let below = |last: Test| {
        vec![
            Plain(load(high)),
            Jump(Test::Greater, value_high, Fails, On),
            Jump(Test::Equal, value_high, On, Holds(2)),
            Plain(load(low)),
            Jump(last, value_low, Fails, On),
        ]
    };
    match comparison.operator {
        Operator::Equal => exact(None, (value_low, value_high)),
        Operator::MaskedEqual => exact(Some((value_low, value_high)), halves(comparison.value_two)),
        Operator::NotEqual => vec![
            Plain(load(high)),
            Jump(Test::Equal, value_high, On, Holds(2)),
            Plain(load(low)),
            Jump(Test::Equal, value_low, Fails, On),
        ],
        Operator::Greater => above(Test::Greater),
        Operator::GreaterOrEqual => above(Test::GreaterOrEqual),
        Operator::Less => below(Test::GreaterOrEqual),
        Operator::LessOrEqual => below(Test::Greater),
    }
}

/// Low and high half.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
