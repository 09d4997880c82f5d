//! The system calls that the service may make, each unusual one with its reason.
//!
//! Seen with `strace` on the service at work, and read in what it is made of: glibc 2.36, Rust's standard library, tokio and mio, vsock,
//! aws-lc. A call that is missing kills the service, and PID 1 says so.

/// A call and the arguments that it may have.
#[derive(Debug)]
pub(super) struct Call(pub(super) i64, pub(super) Arguments);

/// Which arguments. Only the lower 32 bits of one are looked at: all that stand here are `int`s to the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arguments {
    Any,
    /// This argument is one of these.
    OneOf(u8, &'static [u64]),
    /// This argument has these bits set.
    With(u8, u64),
    /// This argument has none of these bits.
    Without(u8, u64),
}

const fn any(number: i64) -> Call {
    Call(number, Arguments::Any)
}

/// Numbers of flags, none negative, as the kernel sees them.
const fn bits(flags: i32) -> u64 {
    // `u64::from` is not const.
    #[expect(clippy::as_conversions, reason = "u32 to u64 loses nothing")]
    {
        flags.unsigned_abs() as u64
    }
}

pub(super) const ALLOWED: &[Call] = &[
    // Memory, never executable: the program is static, and nothing is loaded later.
    Call(libc::SYS_mmap, Arguments::Without(2, bits(libc::PROT_EXEC))),
    Call(libc::SYS_mprotect, Arguments::Without(2, bits(libc::PROT_EXEC))),
    any(libc::SYS_munmap),
    any(libc::SYS_mremap),
    any(libc::SYS_madvise), // aws-lc asks for a page that a fork wipes; the allocator gives pages back
    any(libc::SYS_brk),
    any(libc::SYS_mlockall), // where there is swap; an enclave has none
    // Threads. Not processes: `clone` must say that it makes a thread (see `without_clone3`).
    Call(libc::SYS_clone, Arguments::With(0, bits(libc::CLONE_THREAD))),
    any(libc::SYS_clone3), // the other filter answers that there is none
    any(libc::SYS_futex),
    any(libc::SYS_set_robust_list),
    any(libc::SYS_rseq),
    any(libc::SYS_gettid),
    any(libc::SYS_getpid),
    any(libc::SYS_sched_yield),
    any(libc::SYS_sched_getaffinity), // how many threads sign
    Call(libc::SYS_setpriority, Arguments::OneOf(0, &[PRIO_PROCESS])), // the thread that makes RSA keys for KMS steps back
    any(libc::SYS_exit),
    any(libc::SYS_exit_group),
    any(libc::SYS_restart_syscall), // the kernel's own, after a signal
    Call(libc::SYS_prctl, Arguments::OneOf(0, PRCTL)),
    // Signals: handlers for SIGTERM and for a full stack; abort, which raises SIGABRT on its own thread.
    any(libc::SYS_rt_sigaction),
    any(libc::SYS_rt_sigprocmask),
    any(libc::SYS_rt_sigreturn),
    any(libc::SYS_sigaltstack),
    Call(libc::SYS_tgkill, Arguments::OneOf(2, &[bits(libc::SIGABRT)])),
    // Time and random numbers. The clock is the vDSO's where the clock source allows it, and a call where not.
    any(libc::SYS_clock_gettime),
    any(libc::SYS_clock_getres),
    any(libc::SYS_gettimeofday), // the C library's, for aws-lc; a vDSO too
    any(libc::SYS_clock_nanosleep),
    any(libc::SYS_getrandom),
    // Files: the policy, /dev/nsm, /proc and /sys. The root is read-only.
    any(libc::SYS_openat),
    any(libc::SYS_close),
    any(libc::SYS_read),
    any(libc::SYS_write),
    any(libc::SYS_writev),
    any(libc::SYS_lseek),
    any(libc::SYS_statx), // the standard library asks for a file's size, to read it whole
    any(libc::SYS_fstat),
    any(libc::SYS_newfstatat),
    Call(libc::SYS_fcntl, Arguments::OneOf(1, FCNTL)),
    Call(libc::SYS_ioctl, Arguments::OneOf(1, IOCTL)),
    Call(libc::SYS_prlimit64, Arguments::OneOf(1, RLIMIT)),
    // Waiting.
    any(libc::SYS_epoll_create1),
    any(libc::SYS_epoll_ctl),
    any(libc::SYS_epoll_pwait),
    #[cfg(target_arch = "x86_64")]
    any(libc::SYS_epoll_wait),
    any(libc::SYS_eventfd2), // wakes the runtime from another thread
    any(libc::SYS_ppoll),
    #[cfg(target_arch = "x86_64")]
    any(libc::SYS_poll),
    // Sockets: vsock, and a pair for the runtime's signals. No other family exists for the service.
    Call(libc::SYS_socket, Arguments::OneOf(0, &[bits(libc::AF_VSOCK)])),
    Call(libc::SYS_socketpair, Arguments::OneOf(0, &[bits(libc::AF_UNIX)])),
    any(libc::SYS_connect),
    any(libc::SYS_bind),
    any(libc::SYS_listen),
    any(libc::SYS_accept4),
    any(libc::SYS_getsockname),
    any(libc::SYS_getpeername),
    any(libc::SYS_getsockopt),
    any(libc::SYS_setsockopt),
    any(libc::SYS_recvfrom),
    any(libc::SYS_sendto),
    any(libc::SYS_shutdown),
];

/// Names of threads and of memory (a later C library names its stacks); no core dump; and what rustix asks for the auxiliary vector, which a kernel before 6.4 does not know.
const PRCTL: &[u64] = &[
    bits(libc::PR_SET_NAME),
    bits(libc::PR_SET_VMA),
    bits(libc::PR_SET_DUMPABLE),
    PR_GET_AUXV,
];
const PR_GET_AUXV: u64 = 0x4155_5856;
/// Of one thread, the caller's; without capabilities it can only step back.
const PRIO_PROCESS: u64 = 0;

const FCNTL: &[u64] = &[
    bits(libc::F_GETFD),
    bits(libc::F_SETFD),
    bits(libc::F_GETFL),
    bits(libc::F_SETFL),
    bits(libc::F_DUPFD_CLOEXEC),
];

/// Sockets that do not block, and the NSM's one request: `_IOWR(0x0a, 0, 32 bytes)`.
const IOCTL: &[u64] = &[libc::FIONBIO, 0xc020_0a00];

/// The limits that the service looks at or lowers. Without capabilities it raises none above what PID 1 left it.
#[expect(clippy::as_conversions, reason = "small numbers of the C library's")]
const RLIMIT: &[u64] = &[
    libc::RLIMIT_CORE as u64,
    libc::RLIMIT_NOFILE as u64,
    libc::RLIMIT_STACK as u64, // the size of a thread's stack
];
