//! Descriptors across execve(2). The only test of its program: the child must have no other thread that opens any.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use conex_sys::descriptor::{Inherited, set_inherited};

/// In the child: the number of what it inherits, and of what it does not.
const NUMBERS: &str = "CONEX_TEST_INHERITED";

#[test]
fn what_is_left_open_is_taken_by_its_number_and_is_not_left_open_again() {
    if let Ok(numbers) = std::env::var(NUMBERS) {
        return in_the_child(&numbers);
    }
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let closed = fs::File::open("/dev/null").unwrap();
    set_inherited(theirs.as_fd(), true).unwrap();
    let name = "what_is_left_open_is_taken_by_its_number_and_is_not_left_open_again";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(NUMBERS, format!("{} {}", theirs.as_raw_fd(), closed.as_raw_fd()))
        .output()
        .unwrap();
    drop(theirs);
    assert!(child.status.success(), "{child:?}");
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, "taken");
}

fn in_the_child(numbers: &str) {
    let numbers: Vec<i32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let mut inherited = Inherited::collect().unwrap();
    let fd = inherited.take(numbers[0]).unwrap();
    assert!(inherited.take(numbers[0]).is_err(), "it is taken once");
    assert!(inherited.take(numbers[1]).is_err(), "it was closed");
    let listed = Command::new("ls")
        .arg(format!("/proc/self/fd/{}", numbers[0]))
        .output()
        .unwrap();
    assert!(!listed.status.success(), "the next program does not inherit it");
    UnixStream::from(fd).write_all(b"taken").unwrap();
}
