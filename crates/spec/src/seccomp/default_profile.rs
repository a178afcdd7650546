//! Docker's default policy (version 29, with the address families of sockets that its list has since), as a table by subject
//! and condition.
//!
//! It lets through what nearly every program needs and what the kernel guards well, and leaves out what reaches beyond a
//! container or was the way out of one: keyrings, modules, kexec, swapping, `userfaultfd`, `io_uring`, new namespaces.
//! Calls that need a capability anyhow are let through for containers that have it.

use super::profile::{Action, Architectures, Comparison, Condition, Operator, Profile, Rule};
use crate::capabilities::bit;

/// Sockets but `socket` itself.
const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair";

/// System V IPC and POSIX message queues.
const IPC: &str = "
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
    shmget";

/// Signals.
const SIGNALS: &str = "
    kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4
    sigprocmask sigreturn tgkill tkill";

/// Clocks, timers and sleeping.
const TIME: &str = "
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday io_pgetevents_time64 nanosleep ppoll_time64
    pselect6_time64 sched_rr_get_interval_time64 setitimer time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 times";

/// Waiting for descriptors.
const POLLING: &str = "
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit poll ppoll pselect6 select";

/// Users, groups and capabilities.
const IDENTITY: &str = "
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getresgid
    getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setpgid setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setuid setuid32";

/// Priorities, affinities and limits.
const SCHEDULING: &str = "
    getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    setpriority setrlimit ugetrlimit";

/// Memory.
const MEMORY: &str = "
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
    mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_mrelease remap_file_pages";

/// Processes and threads.
const PROCESSES: &str = "
    execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    get_robust_list get_thread_area getpgrp getpid getppid getrandom getsid gettid landlock_add_rule
    landlock_create_ruleset landlock_restrict_self pidfd_open prctl restart_syscall riscv_hwprobe rseq seccomp
    set_robust_list set_thread_area set_tid_address setsid sysinfo umask uname uretprobe vfork wait4 waitid
    waitpid";

/// Files, directories and file systems.
const FILES: &str = "
    _llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown
    lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64
    preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat
    rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64
    statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 unlink unlinkat utime
    utimensat utimensat_time64 utimes vmsplice write writev";

/// Subjects that are let through with any arguments.
const ALWAYS: [&str; 10] = [
    SOCKETS, IPC, SIGNALS, TIME, POLLING, IDENTITY, SCHEDULING, MEMORY, PROCESSES, FILES,
];

/// Looking into other processes: since 4.8 the kernel filters what a tracer makes of a call, so that tracing is no way
/// around the filter.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// What exists on some processors only; the others' tables have no such names.
const PROCESSOR: &str = "arch_prctl arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush modify_ldt set_tls
    sync_file_range2";

/// Names that a container with the capability may call.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    (
        "SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Address families of sockets that are not let through, though they are below the last (address_families(7)): `AF_ALG` (38), by
/// which whoever could call the kernel's ciphers wrote to cached pages of files that others have, too (CVE-2026-31431);
/// `AF_VSOCK` (40), whose addresses reach the hypervisor and other guests, past every network namespace (vsock(7)); DECnet,
/// Econet, ATM, IrDA, WANPIPE, IUCV and CAIF, which few kernels have.
const REFUSED_FAMILIES: [u64; 9] = [12, 19, 20, 23, 25, 34, 37, 38, 40];

/// The last address family that is let through, `AF_MCTP`.
const LAST_FAMILY: u64 = 45;

/// Execution domains (personality(2)): Linux, 32-bit Linux, each also with the release reported as 2.6, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// All `CLONE_NEW*` that `clone(2)` takes: mount, cgroup, uts, ipc, user, pid, net. Time is not one of them.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The default policy for a container with these capabilities.
pub fn default_profile(capabilities: u64) -> Profile {
    let mut rules: Vec<Rule> = ALWAYS.iter().map(|names| allow(names, Vec::new())).collect();
    rules.push(allow(TRACING, Vec::new()));
    rules.push(allow(PROCESSOR, Vec::new()));
    // A 32-bit program may still call socketcall(2), whose arguments stand in memory, where a filter cannot look.
    let mut families = vec![compare(Operator::LessOrEqual, LAST_FAMILY, 0)];
    families.extend(REFUSED_FAMILIES.map(|family| compare(Operator::NotEqual, family, 0)));
    rules.push(allow("socket", families));
    rules.extend(PERSONALITIES.map(|value| allow("personality", vec![compare(Operator::Equal, value, 0)])));
    if capabilities & bit("SYS_ADMIN") == 0 {
        rules.push(allow("clone", vec![compare(Operator::MaskedEqual, NEW_NAMESPACES, 0)]));
        // Its flags stand in memory, where a filter cannot look; with ENOSYS the C libraries fall back to clone.
        rules.push(Rule {
            action: Action::Errno(ENOSYS),
            ..allow("clone3", Vec::new())
        });
    }
    for (name, calls) in WITH_CAPABILITY {
        if crate::capabilities::parse(name).is_ok_and(|bit| capabilities & bit != 0) {
            rules.push(allow(calls, Vec::new()));
        }
    }
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    Profile {
        listener: None,
        default_action: Action::Errno(EPERM),
        architectures: Architectures::Mapped(vec![
            ("SCMP_ARCH_X86_64".to_string(), names(&["SCMP_ARCH_X86"])),
            ("SCMP_ARCH_AARCH64".to_string(), names(&["SCMP_ARCH_ARM"])),
        ]),
        flags: 0,
        rules,
    }
}

fn allow(names: &str, arguments: Vec<Comparison>) -> Rule {
    Rule {
        names: names.split_whitespace().map(String::from).collect(),
        action: Action::Allow,
        arguments,
        condition: Condition::default(),
    }
}

fn compare(operator: Operator, value: u64, value_two: u64) -> Comparison {
    Comparison {
        index: 0,
        operator,
        value,
        value_two,
    }
}
