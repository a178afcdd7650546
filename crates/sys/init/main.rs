//! The first process of a container with `--init`: starts the program, hands signals on to it, reaps what others leave behind.
//!
//! It stands alone, without a library, so that a container has a page or two of it in memory and nothing of the engine.
//! `build.rs` compiles it, `conex_sys::init` seals it in memory.
//!
//! ```text
//!   conex-init PATH NAME [ARGUMENT]...
//!
//!   all signals blocked --- fork ---> group of its own, in the terminal's foreground; signals as they were; execve
//!      |
//!      +-- rt_sigtimedwait: SIGCHLD: reaps all; where the program ended, ends with its status (128 + signal)
//!                           others:  to the program
//! ```
#![no_std]
#![no_main]
// Without a library there is no memcpy that a loop could become.
#![no_builtins]

use core::arch::{asm, global_asm};
use core::ptr::{null, null_mut};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    main = sym main
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {main}",
    main = sym main
);

/// Numbers of system calls (syscalls(2)).
#[cfg(target_arch = "x86_64")]
mod number {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const IOCTL: usize = 16;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const EXECVE: usize = 59;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const KILL: usize = 62;
    pub(crate) const SETPGID: usize = 109;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const EXIT_GROUP: usize = 231;
}

/// Numbers of system calls (syscalls(2)).
#[cfg(target_arch = "aarch64")]
mod number {
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const SETPGID: usize = 154;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const WAIT4: usize = 260;
}

const SIGCHLD: usize = 17;
/// Bytes of the kernel's signal set.
const SET: usize = 8;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
const TIOCSPGRP: usize = 0x5410;
const PR_SET_NAME: usize = 15;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const WNOHANG: usize = 1;
const ENOENT: isize = -2;

/// Makes a system call; a negative result is an error's number.
///
/// # Safety
/// As for the call.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the caller's; the kernel changes only rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") 0_usize,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call; a negative result is an error's number.
///
/// # Safety
/// As for the call.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") 0_usize,
            options(nostack),
        );
    }
    result
}

/// What the kernel puts on the stack: the number of arguments, they, a null pointer, the environment, a null pointer.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the stack is as execve(2) leaves it.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const u8>();
        let environment = arguments.add(count + 1);
        if count < 3 {
            exit(127);
        }
        call(number::PRCTL, PR_SET_NAME, c"conex-init".as_ptr() as usize, 0, 0);
        // Where it is not the first process of a pid namespace, orphans come to it all the same.
        call(number::PRCTL, PR_SET_CHILD_SUBREAPER, 1, 0, 0);
        let all = u64::MAX;
        let mut before = 0_u64;
        mask(SIG_BLOCK, &raw const all, &raw mut before);
        match call(number::CLONE, SIGCHLD, 0, 0, 0) {
            0 => begin(arguments.add(1), environment, &raw const before),
            child if child > 0 => look_after(child as usize, &raw const all),
            _ => {
                say(c"conex-init: fork: there is no room for another process\n");
                exit(126)
            }
        }
    }
}

unsafe fn mask(how: usize, set: *const u64, old: *mut u64) {
    // SAFETY: both are sets, or the second is null.
    unsafe { call(number::RT_SIGPROCMASK, how, set as usize, old as usize, SET) };
}

/// Waits for signals until the program has ended.
unsafe fn look_after(child: usize, all: *const u64) -> ! {
    loop {
        // SAFETY: a set, no details, no time.
        match unsafe { call(number::RT_SIGTIMEDWAIT, all as usize, null::<u8>() as usize, 0, SET) } {
            // SAFETY: it writes to its own variable alone.
            signal if signal == SIGCHLD as isize => unsafe { reap(child) },
            signal if signal > 0 => {
                // SAFETY: numbers alone.
                unsafe { call(number::KILL, child, signal as usize, 0, 0) };
            }
            _ => {}
        }
    }
}

/// Reaps all that have ended; ends with the program.
unsafe fn reap(child: usize) {
    loop {
        let mut status = 0_u32;
        // SAFETY: the status lives across the call; usage is not asked for.
        let pid = unsafe { call(number::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, 0) };
        if pid <= 0 {
            return;
        }
        if pid as usize == child {
            match status & 0x7f {
                0 => exit((status >> 8 & 0xff) as usize),
                signal => exit(128 + signal as usize),
            }
        }
    }
}

/// The program's side: a process group of its own, signals as they were, and the program.
unsafe fn begin(arguments: *const *const u8, environment: *const *const u8, before: *const u64) -> ! {
    // SAFETY: strings and arrays are those of the stack.
    unsafe {
        call(number::SETPGID, 0, 0, 0, 0);
        // SIGTTOU is still blocked; where there is no terminal it fails, and there is none to be asked for.
        let group = call(number::GETPID, 0, 0, 0, 0) as i32;
        call(number::IOCTL, 0, TIOCSPGRP, &raw const group as usize, 0);
        mask(SIG_SETMASK, before, null_mut());
        let path = *arguments as usize;
        let error = call(number::EXECVE, path, arguments.add(1) as usize, environment as usize, 0);
        say(c"conex-init: the program cannot be executed\n");
        exit(if error == ENOENT { 127 } else { 126 })
    }
}

fn say(words: &core::ffi::CStr) {
    let start = words.as_ptr().cast::<u8>();
    let mut length = 0;
    // SAFETY: a string with an end, on standard error.
    unsafe {
        while *start.add(length) != 0 {
            length += 1;
        }
        call(number::WRITE, 2, start as usize, length, 0);
    }
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it does not return.
        unsafe { call(number::EXIT_GROUP, status, 0, 0, 0) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(126)
}
