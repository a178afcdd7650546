//! A container that counts, so that what is lost of its output is seen.

/// The script of a shell that writes a number on each line, from 0 on, as long as it runs.
pub const COUNTER: &str = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";

/// Checks that no number is missing in what a counter wrote.
pub fn assert_no_gap(log: &str) {
    let numbers: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(
        numbers.iter().copied().eq(0..u32::try_from(numbers.len()).unwrap()),
        "a gap in {log}"
    );
}
