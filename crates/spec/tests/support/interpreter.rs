//! An interpreter of classic BPF, for filters of system calls.

/// Runs a filter as the kernel does (bpf(4), seccomp(2)); panics where the kernel's checker would refuse it.
pub(crate) fn run(program: &[u8], audit: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(audit.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    for argument in arguments {
        data.extend(argument.to_le_bytes());
    }
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut accumulator = 0_u32;
    let mut place = 0_usize;
    loop {
        let instruction = &program[place * 8..place * 8 + 8];
        let code = u16::from_le_bytes([instruction[0], instruction[1]]);
        let (jump_true, jump_false) = (usize::from(instruction[2]), usize::from(instruction[3]));
        let operand = word(&instruction[4..]);
        place += 1;
        let mut jump = |holds: bool| place += if holds { jump_true } else { jump_false };
        match code {
            0x20 => accumulator = word(&data[operand as usize..operand as usize + 4]),
            0x54 => accumulator &= operand,
            0x05 => place += operand as usize,
            0x15 => jump(accumulator == operand),
            0x25 => jump(accumulator > operand),
            0x35 => jump(accumulator >= operand),
            0x45 => jump(accumulator & operand != 0),
            0x06 => return operand,
            other => panic!("instruction {other:#x} is not one of filters of system calls"),
        }
    }
}
