//! Whether a signal can have an effect on a container's first process.
//!
//! The kernel drops a signal that the first process of a pid namespace neither catches nor blocks, SIGKILL and SIGSTOP from
//! outside excepted (pid_namespaces(7), "The namespace init process"). Waiting for an effect of it is in vain.

use std::fs;
use std::time::Duration;

/// Between the two looks at a process: one that has just begun may be about to catch the signal.
const BETWEEN: Duration = Duration::from_millis(100);

/// SIGSTOP (signal(7)), which nobody can drop, as SIGKILL.
const STOP: i32 = 19;

/// Returns where a process was seen twice to drop a signal; never where it may heed it.
pub(super) async fn drops(pid: i32, signal: i32) {
    if signal == super::lifecycle::KILL || signal == STOP {
        return std::future::pending().await;
    }
    for pause in [Duration::ZERO, BETWEEN] {
        tokio::time::sleep(pause).await;
        let seen = tokio::task::spawn_blocking(move || dropped_by_all(pid, signal)).await;
        if !seen.is_ok_and(|dropped| dropped == Some(true)) {
            return std::future::pending().await;
        }
    }
}

/// Whether no thread of a process would see a signal; `None` where the process ends meanwhile.
fn dropped_by_all(pid: i32, signal: i32) -> Option<bool> {
    let mut dropped = true;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        dropped &= is_dropped(&status, signal)?;
    }
    Some(dropped)
}

/// What `/proc/[pid]/status` says of it (proc_pid_status(5)); `None` where a line is not there.
fn is_dropped(status: &str, signal: i32) -> Option<bool> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let set = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
    let bit = 1_u64.checked_shl(u32::try_from(signal).ok()?.checked_sub(1)?)?;
    let is_first = field("NSpid")?.split_whitespace().last() == Some("1");
    let is_traced = field("TracerPid")?.trim() != "0";
    Some(is_first && !is_traced && (set("SigCgt")? | set("SigBlk")?) & bit == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(nspid: &str, tracer: &str, blocked: &str, caught: &str) -> String {
        format!(
            "Name:\tsleep\nTracerPid:\t{tracer}\nNSpid:\t{nspid}\nSigPnd:\t0000000000000000\nSigBlk:\t{blocked}\n\
             SigIgn:\t0000000000004000\nSigCgt:\t{caught}\n"
        )
    }

    #[test]
    fn a_first_process_drops_what_it_neither_catches_nor_blocks() {
        let (none, term, last) = ("0000000000000000", "0000000000004000", "8000000000000000");
        for (status, signal, dropped) in [
            (status("4711\t1", "0", none, none), 15, true),
            (status("4711\t1", "0", none, term), 15, false),
            (status("4711\t1", "0", term, none), 15, false),
            (status("4711\t1", "0", none, term), 3, true),
            (status("4711\t1", "0", none, last), 64, false),
            (status("4711\t1", "12", none, none), 15, false),
            (status("4711\t5\t1", "0", none, none), 15, true),
            // No first process: the signal ends it.
            (status("4711", "0", none, none), 15, false),
            (status("4711\t8", "0", none, none), 15, false),
        ] {
            assert_eq!(is_dropped(&status, signal), Some(dropped), "{signal} {status}");
        }
        assert_eq!(is_dropped("Name:\tsleep\n", 15), None);
        assert_eq!(is_dropped(&status("1", "0", none, none), 0), None);
        assert_eq!(is_dropped(&status("1", "0", none, none), 65), None);
    }
}
