//! seccomp: which system calls are left. What is not listed fails with `EPERM`; what starts or takes over a process kills.
//!
//! Numbers, not names, because that is what the kernel compares; they come from `libc` for the architecture that is compiled.
//! Three filters, and the kernel obeys the strictest answer. The lists were derived from traces of the end-to-end tests, and
//! read against what the C library, the runtime, aws-lc and rustls may call on other paths.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

type Call = libc::c_long;
type Rules = BTreeMap<Call, Vec<SeccompRule>>;

/// Kill: another program in this process, or a hand in another process. No path of ours leads here, so it is an attack.
const KILL: &[Call] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_ptrace];

/// Calls with which newer C libraries begin and which they do without: they must hear that there is no such call. The flags of
/// `clone3` lie in memory, where no filter sees them.
const UNKNOWN: &[Call] = &[libc::SYS_clone3];

/// Memory for the allocator. `mmap` and `mprotect` are below: never writable and executable.
const MEMORY: &[Call] = &[libc::SYS_brk, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap];

/// Threads of this process: waiting, names, signals, scheduling of oneself, the end.
const THREADS: &[Call] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
];

/// Time, random numbers, and what the system says of itself.
const FACTS: &[Call] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Files by path and by descriptor: the spool, the revisions, the status socket, name resolution. Landlock says which paths.
const FILES: &[Call] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The same under the numbers that only x86-64 still has; for the other architecture `renameat`, which `libc` forgot there.
#[cfg(target_arch = "x86_64")]
const FILES_OLD: &[Call] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_stat,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const FILES_OLD: &[Call] = &[38];

/// Sockets that there are; `socket` itself is below. `bind` and `listen` are for the status socket, and `bind` for the netlink
/// socket with which the C library asks for this machine's addresses.
const SOCKETS: &[Call] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Bulk through the proxy: from socket to pipe to socket.
const PIPES: &[Call] = &[libc::SYS_pipe2, libc::SYS_splice];

/// Waiting for descriptors: the runtime, and the C library's resolver.
const WAITING: &[Call] =
    &[libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_ppoll];

#[cfg(target_arch = "x86_64")]
const WAITING_OLD: &[Call] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(target_arch = "aarch64")]
const WAITING_OLD: &[Call] = &[];

/// Why nothing is enforced.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallsError {
    /// No filter for this architecture, or a fault in the lists.
    #[error("the filter cannot be made")]
    Make(#[from] BackendError),
    /// The kernel refuses.
    #[error("the kernel refuses the filter")]
    Apply(#[from] seccompiler::Error),
}

/// Confines this process.
pub(super) fn confine() -> Result<(), CallsError> {
    let programs = [
        program(plain(KILL), SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(plain(UNKNOWN), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))?,
        // The last one: it allows no further filter.
        program(allowed()?, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)?,
    ];
    for program in &programs {
        apply_filter_all_threads(program)?;
    }
    Ok(())
}

fn program(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, listed, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn plain(calls: &[Call]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Everything that the other two filters leave and the daemon may call.
fn allowed() -> Result<Rules, BackendError> {
    let lists = [UNKNOWN, MEMORY, THREADS, FACTS, FILES, FILES_OLD, SOCKETS, PIPES, WAITING, WAITING_OLD];
    let mut rules = plain(&lists.concat());
    let mut only = |call: Call, ways: Vec<Vec<SeccompCondition>>| -> Result<(), BackendError> {
        let ways: Result<Vec<SeccompRule>, BackendError> = ways.into_iter().map(SeccompRule::new).collect();
        rules.insert(call, ways?);
        Ok(())
    };

    // Threads, no processes and no namespaces.
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let apart = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    only(libc::SYS_clone, vec![vec![bits(0, thread | apart, thread)?]])?;
    // An abort, which is a signal to oneself.
    only(libc::SYS_tgkill, vec![vec![is(0, std::process::id().cast_signed())?]])?;
    only(libc::SYS_prctl, vec![vec![is(0, libc::PR_SET_NAME)?]])?;
    // Reading limits, not setting them: the new one is absent.
    only(libc::SYS_prlimit64, vec![vec![SeccompCondition::new(2, Length::Qword, Op::Eq, 0)?]])?;
    #[cfg(target_arch = "x86_64")]
    only(libc::SYS_getrlimit, vec![])?;

    // No page is writable and executable, and none becomes executable: the C library's modules are mapped as they are.
    let both = libc::PROT_WRITE | libc::PROT_EXEC;
    let pages = [libc::PROT_NONE, libc::PROT_WRITE, libc::PROT_EXEC].map(|way| Ok(vec![bits(2, both, way)?]));
    only(libc::SYS_mmap, pages.into_iter().collect::<Result<_, BackendError>>()?)?;
    only(libc::SYS_mprotect, vec![vec![bits(2, libc::PROT_EXEC, 0)?]])?;

    let internet = |family, kind| Ok(vec![is(0, family)?, bits(1, SOCKET_TYPE, kind)?]);
    only(
        libc::SYS_socket,
        vec![
            vec![is(0, libc::AF_UNIX)?],
            internet(libc::AF_INET, libc::SOCK_STREAM)?,
            internet(libc::AF_INET, libc::SOCK_DGRAM)?,
            internet(libc::AF_INET6, libc::SOCK_STREAM)?,
            internet(libc::AF_INET6, libc::SOCK_DGRAM)?,
            vec![is(0, libc::AF_NETLINK)?, is(2, libc::NETLINK_ROUTE)?],
        ],
    )?;
    // The runtime's own pair for signals.
    only(libc::SYS_socketpair, vec![vec![is(0, libc::AF_UNIX)?]])?;
    // Non-blocking, close-on-exec, and how much waits: nothing that a device would obey.
    let requests = [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD];
    only(libc::SYS_ioctl, requests.into_iter().map(|request| Ok(vec![number(1, request)?])).collect::<Result<_, BackendError>>()?)?;
    Ok(rules)
}

/// The type in `socket`'s second argument, without flags.
const SOCKET_TYPE: i32 = 0xf;

fn number(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Length::Dword, Op::Eq, value)
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    number(argument, u64::from(value.cast_unsigned()))
}

fn bits(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
    SeccompCondition::new(argument, Length::Dword, Op::MaskedEq(mask), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_beyond_the_process_is_allowed() {
        let allowed = allowed().unwrap();
        let beyond = [
            libc::SYS_bpf,
            libc::SYS_chroot,
            libc::SYS_delete_module,
            libc::SYS_finit_module,
            libc::SYS_init_module,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
            libc::SYS_kill,
            libc::SYS_memfd_create,
            libc::SYS_mount,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_personality,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_open,
            libc::SYS_pivot_root,
            libc::SYS_reboot,
            libc::SYS_seccomp,
            libc::SYS_setns,
            libc::SYS_setuid,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_userfaultfd,
        ];
        for call in beyond {
            assert!(!allowed.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn the_filters_can_be_made_for_every_architecture_that_is_built() {
        for architecture in [seccompiler::TargetArch::x86_64, seccompiler::TargetArch::aarch64] {
            let filter = SeccompFilter::new(allowed().unwrap(), SeccompAction::Errno(1), SeccompAction::Allow, architecture).unwrap();
            assert!(BpfProgram::try_from(filter).unwrap().len() < 4096, "the kernel's limit");
        }
    }
}
