//! Instructions of classic BPF, as seccomp uses them (seccomp(2), `<linux/filter.h>`).

/// One `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) operand: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// Offset of the number in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
/// Offset of the architecture.
pub(super) const ARCHITECTURE: u32 = 4;

/// Offset of the low and of the high half of an argument; all our architectures are little-endian.
pub(super) fn argument(index: u8) -> (u32, u32) {
    let low = 16 + 8 * u32::from(index);
    (low, low + 4)
}

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
}

impl Test {
    /// `BPF_JMP | BPF_K` with the operation.
    fn code(self) -> u16 {
        match self {
            Test::Equal => 0x15,
            Test::Greater => 0x25,
            Test::GreaterOrEqual => 0x35,
        }
    }
}

pub(super) fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        jump_true: 0,
        jump_false: 0,
        operand: offset,
    }
}

pub(super) fn and(mask: u32) -> Instruction {
    Instruction {
        code: AND,
        jump_true: 0,
        jump_false: 0,
        operand: mask,
    }
}

pub(super) fn give(verdict: u32) -> Instruction {
    Instruction {
        code: RETURN,
        jump_true: 0,
        jump_false: 0,
        operand: verdict,
    }
}

pub(super) fn test(test: Test, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code: test.code(),
        jump_true,
        jump_false,
        operand,
    }
}

pub(super) fn jump(distance: u32) -> Instruction {
    Instruction {
        code: JUMP,
        jump_true: 0,
        jump_false: 0,
        operand: distance,
    }
}

/// Two pieces of code, of which the first is run when the test holds. Both end in a return, so nothing is jumped over
/// after them. Conditional jumps reach 255 instructions; a long piece is jumped over by an unconditional one.
pub(super) fn branch(
    condition: Test,
    operand: u32,
    when_true: Vec<Instruction>,
    when_false: Vec<Instruction>,
) -> Vec<Instruction> {
    let mut code = Vec::with_capacity(when_true.len() + when_false.len() + 2);
    match u8::try_from(when_true.len()) {
        Ok(distance) => code.push(test(condition, operand, 0, distance)),
        Err(_) => {
            code.push(test(condition, operand, 1, 0));
            let distance = u32::try_from(when_true.len()).unwrap_or(u32::MAX);
            code.push(Instruction {
                code: JUMP,
                jump_true: 0,
                jump_false: 0,
                operand: distance,
            });
        }
    }
    code.extend(when_true);
    code.extend(when_false);
    code
}

/// The bytes that the kernel reads.
pub(super) fn bytes(code: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for instruction in code {
        bytes.extend(instruction.code.to_le_bytes());
        bytes.extend([instruction.jump_true, instruction.jump_false]);
        bytes.extend(instruction.operand.to_le_bytes());
    }
    bytes
}
