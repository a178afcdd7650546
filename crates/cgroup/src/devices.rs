//! Device rules as a program of the kernel's virtual machine: version 2 has no device files.
//!
//! The program gets a `struct bpf_cgroup_dev_ctx` (access and type in one word, major, minor) and answers 1 for yes.
//! The last rule that matches decides, so rules are tested from the last to the first.

use conex_spec::plan::DeviceRule;

const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

const LDX_W: u8 = 0x61;
const AND_K: u8 = 0x54;
const RSH_K: u8 = 0x74;
const MOV_X: u8 = 0xbc;
const MOV_K: u8 = 0xb4;
const JNE_K: u8 = 0x55;
const JNE_X: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Instructions for the rules; access that no rule names is denied.
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<u64> {
    // r2 = type, r3 = access, r4 = major, r5 = minor
    let mut code = vec![
        instruction(LDX_W, 2, 1, 0, 0),
        instruction(AND_K, 2, 0, 0, 0xffff),
        instruction(LDX_W, 3, 1, 0, 0),
        instruction(RSH_K, 3, 0, 0, 16),
        instruction(LDX_W, 4, 1, 4, 0),
        instruction(LDX_W, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
        if rule.kind == 'a' {
            // It decides everything; the kernel refuses a program with instructions behind it that nothing reaches.
            return code;
        }
    }
    code.extend([instruction(MOV_K, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    code
}

/// Tests that jump over the answer where they fail, then the answer.
fn block(rule: &DeviceRule) -> Vec<u64> {
    let mut tests: Vec<(u8, u8, u8, i32)> = Vec::new();
    let mut setup = Vec::new();
    match rule.kind {
        'b' => tests.push((JNE_K, 2, 0, BPF_DEVCG_DEV_BLOCK)),
        'c' => tests.push((JNE_K, 2, 0, BPF_DEVCG_DEV_CHAR)),
        _ => {}
    }
    if let Some(mask) = access(rule).filter(|_| rule.kind != 'a') {
        // Matches where nothing is asked for beyond the rule: (access & mask) == access.
        setup = vec![instruction(MOV_X, 1, 3, 0, 0), instruction(AND_K, 1, 0, 0, mask)];
        tests.push((JNE_X, 1, 3, 0));
    }
    if let Some(major) = rule.major.and_then(|number| i32::try_from(number).ok()) {
        tests.push((JNE_K, 4, 0, major));
    }
    if let Some(minor) = rule.minor.and_then(|number| i32::try_from(number).ok()) {
        tests.push((JNE_K, 5, 0, minor));
    }
    let mut code = setup;
    let count = tests.len();
    for (index, (operation, register, source, constant)) in tests.into_iter().enumerate() {
        let over = i16::try_from(count - index - 1 + 2).unwrap_or(i16::MAX);
        code.push(instruction(operation, register, source, over, constant));
    }
    code.push(instruction(MOV_K, 0, 0, 0, i32::from(rule.allow)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

/// The access bits, `None` where a rule names all of them.
fn access(rule: &DeviceRule) -> Option<i32> {
    let bit = |letter: char, bit: i32| if rule.access.contains(letter) { bit } else { 0 };
    let mask = bit('m', ACCESS_MKNOD) | bit('r', ACCESS_READ) | bit('w', ACCESS_WRITE);
    (mask != ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE).then_some(mask)
}

/// One instruction in the kernel's encoding (`struct bpf_insn`).
fn instruction(operation: u8, destination: u8, source: u8, offset: i16, constant: i32) -> u64 {
    let bytes = [operation, destination | source << 4];
    let (offset, constant) = (offset.to_ne_bytes(), constant.to_ne_bytes());
    u64::from_ne_bytes([
        bytes[0],
        bytes[1],
        offset[0],
        offset[1],
        constant[0],
        constant[1],
        constant[2],
        constant[3],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, for the few instructions that are used.
    fn run(code: &[u64], kind: i32, access: i32, major: u32, minor: u32) -> u64 {
        let context = [
            u64::from((access.unsigned_abs() << 16) | kind.unsigned_abs()),
            u64::from(major),
            u64::from(minor),
        ];
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let bytes = code[at].to_ne_bytes();
            let (destination, source) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let constant = u64::from(i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]).unsigned_abs());
            let jump = usize::try_from(offset).unwrap_or(0);
            at += 1;
            match bytes[0] {
                LDX_W => registers[destination] = context[jump / 4],
                AND_K => registers[destination] &= constant,
                RSH_K => registers[destination] >>= constant,
                MOV_X => registers[destination] = registers[source],
                MOV_K => registers[destination] = constant,
                JNE_K if registers[destination] != constant => at += jump,
                JNE_X if registers[destination] != registers[source] => at += jump,
                JNE_K | JNE_X => {}
                EXIT => return registers[0],
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: access.into(),
        }
    }

    /// Instructions that no path reaches.
    fn unreachable(code: &[u64]) -> Vec<usize> {
        let mut reached = vec![false; code.len()];
        let mut paths = vec![0];
        while let Some(at) = paths.pop() {
            if std::mem::replace(&mut reached[at], true) {
                continue;
            }
            let bytes = code[at].to_ne_bytes();
            let offset = usize::try_from(i16::from_ne_bytes([bytes[2], bytes[3]])).unwrap_or(0);
            match bytes[0] {
                EXIT => {}
                JNE_K | JNE_X => paths.extend([at + 1, at + 1 + offset]),
                _ => paths.push(at + 1),
            }
        }
        (0..code.len()).filter(|at| !reached[*at]).collect()
    }

    #[test]
    fn the_verifier_finds_nothing_unreachable() {
        let everything = rule(false, 'a', None, None, "rwm");
        let null = rule(true, 'c', Some(1), Some(3), "rwm");
        for rules in [
            vec![],
            vec![null.clone()],
            vec![everything.clone(), null.clone()],
            vec![null, everything],
        ] {
            assert_eq!(unreachable(&program(&rules)), Vec::<usize>::new(), "{rules:?}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = [
            rule(false, 'a', None, None, "rwm"),
            rule(true, 'c', None, None, "m"),
            rule(true, 'c', Some(1), Some(3), "rwm"),
            rule(true, 'c', Some(136), None, "rwm"),
        ];
        let code = program(&rules);
        let allowed = |kind, access, major, minor| run(&code, kind, access, major, minor) == 1;
        assert!(allowed(BPF_DEVCG_DEV_CHAR, ACCESS_READ | ACCESS_WRITE, 1, 3));
        assert!(allowed(BPF_DEVCG_DEV_CHAR, ACCESS_MKNOD, 7, 7));
        assert!(allowed(BPF_DEVCG_DEV_CHAR, ACCESS_READ, 136, 9));
        assert!(!allowed(BPF_DEVCG_DEV_CHAR, ACCESS_READ, 1, 4));
        assert!(!allowed(BPF_DEVCG_DEV_BLOCK, ACCESS_READ, 1, 3));
        assert!(!allowed(BPF_DEVCG_DEV_BLOCK, ACCESS_MKNOD, 8, 0));
    }
}
