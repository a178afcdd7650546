//! Bytes for layers: what programs make of them, and what no program makes fewer.

use std::io::Write;
use std::process::{Command, Stdio};

/// Compressed by a program, with its arguments: `gzip -1`.
pub fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    through(&format!("{program} -c"), bytes)
}

/// What a pipeline of the shell makes of its input.
pub fn through(script: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(bytes));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        writer.join().unwrap().unwrap();
        output
    });
    output.stdout
}

/// Bytes that no compression makes fewer; others for each seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(7);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(3)).flat_map(|_| next()[..3].to_vec()).collect();
    bytes.truncate(length);
    bytes
}
