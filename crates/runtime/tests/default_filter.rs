//! The default seccomp policy in the kernel: its checker takes the program, and it bites.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

use conex_spec::security::SeccompChoice;
use conex_spec::{HostFacts, capabilities, seccomp};
use rustix::io::Errno;

/// What a bind mount of nothing answers, with this filter or without any, on a thread of its own.
fn answers(choice: SeccompChoice, set: u64) -> (Result<(), Errno>, bool, String) {
    let program = seccomp::program(&choice, set, &HostFacts::default()).unwrap();
    let thread = std::thread::spawn(move || {
        if let Some(program) = program {
            conex_sys::seccomp::install(&program, 0).expect("the kernel takes the filter (this test needs root)");
        }
        let mount = rustix::mount::mount_bind("/nonexistent/source", "/nonexistent/target");
        let starts = std::process::Command::new("/bin/true").status().unwrap().success();
        (
            mount,
            starts,
            std::fs::read_to_string("/proc/thread-self/status").unwrap(),
        )
    });
    thread.join().unwrap()
}

#[test]
fn the_kernel_takes_the_default_filter_and_refuses_what_it_does_not_name() {
    let (mount, starts, status) = answers(SeccompChoice::Default, capabilities::DEFAULT);
    assert_eq!(mount, Err(Errno::PERM));
    assert!(starts, "programs start under it");
    assert!(status.contains("Seccomp:\t2"));
}

#[test]
fn with_the_capability_or_without_the_filter_the_call_gets_through() {
    let admin = capabilities::DEFAULT | capabilities::parse("SYS_ADMIN").unwrap();
    assert_eq!(answers(SeccompChoice::Default, admin).0, Err(Errno::NOENT));
    assert_eq!(
        answers(SeccompChoice::Unconfined, capabilities::DEFAULT).0,
        Err(Errno::NOENT)
    );
}
