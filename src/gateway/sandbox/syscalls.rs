//! System calls: those that a proxy makes, and no other.
//!
//! What is not on the list fails with ENOSYS, as if the kernel were older than the call: libraries that try
//! something new then do it the old way. `clone3` is left out for that reason, its arguments being where no filter
//! can read them. The list is x86_64's and aarch64's alike, but for the calls that only the former still has.
//!
//! Most calls are allowed whatever their arguments, which the kernel remembers, so that they cost next to nothing.

use std::collections::BTreeMap;

// Two hundred names of calls, each of them once more here, would tell nobody anything.
use libc::*;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Files, folders and watching them.
#[rustfmt::skip]
const FILES: &[i64] = &[
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev,
    SYS_preadv2, SYS_pwritev2, SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_lseek, SYS_fstat,
    SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir,
    SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_renameat2,
    SYS_linkat, SYS_symlinkat, SYS_truncate, SYS_ftruncate, SYS_fallocate, SYS_fadvise64, SYS_readahead,
    SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_copy_file_range, SYS_sendfile, SYS_splice, SYS_flock,
    SYS_fcntl, SYS_dup, SYS_dup3, SYS_pipe2, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_umask,
    SYS_utimensat, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
];

/// Sockets that are open, and waiting for them. `socket` itself is a matter of its family.
#[rustfmt::skip]
const SOCKETS: &[i64] = &[
    SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_getsockname, SYS_getpeername,
    SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg,
    SYS_recvmmsg, SYS_shutdown, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
    SYS_ppoll, SYS_pselect6, SYS_eventfd2, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime,
    SYS_timerfd_gettime,
];

/// Memory, threads, time and chance.
#[rustfmt::skip]
const THREADS: &[i64] = &[
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mincore, SYS_msync, SYS_membarrier, SYS_get_mempolicy,
    SYS_futex, SYS_futex_waitv, SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_set_tid_address,
    SYS_gettid, SYS_getcpu, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_getpriority, SYS_setpriority,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_times,
    SYS_getrandom, SYS_restart_syscall,
];

/// The process itself, signals, and the program of an upgrade with the sandbox that it enters in its turn.
#[rustfmt::skip]
const PROCESS: &[i64] = &[
    SYS_execve, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill, SYS_tgkill, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_getpid, SYS_getppid, SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid,
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups,
    SYS_getrlimit, SYS_setrlimit, SYS_prlimit64, SYS_getrusage, SYS_uname, SYS_sysinfo, SYS_prctl, SYS_capget,
    SYS_capset, SYS_seccomp, SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigpending,
    SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_sigaltstack,
];

/// What newer architectures have left behind, and glibc still uses where it is.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD: &[i64] = &[
    SYS_access, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_dup2, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd,
    SYS_fork, SYS_getdents, SYS_getpgrp, SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir, SYS_open, SYS_pipe,
    SYS_poll, SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_stat, SYS_symlink, SYS_time, SYS_unlink,
    SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// Of `ioctl`: whether a descriptor waits, closes at `execve`, is a terminal and how wide, holds bytes.
const REQUESTS: &[Ioctl] = &[
    FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TIOCOUTQ, TIOCGWINSZ, TCGETS, TCGETS2,
];

/// Anything but these asks the kernel for more than to carry bytes: netlink, raw packets, virtual machines.
const FAMILIES: &[i32] = &[AF_UNIX, AF_INET, AF_INET6];

/// A clone with one of these is in a world of its own, in which it is root and has all of the kernel to attack.
const NAMESPACES: i32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// Leaves this thread, and all that it starts from now on, with the calls of the list.
pub(super) fn restrict() -> Result<String, seccompiler::Error> {
    match seccompiler::apply_filter(&program()?) {
        Ok(()) => Ok("seccomp".to_owned()),
        // Each binary upgrade adds a filter of the same kind; the kernel has a limit, and the first is in force.
        Err(seccompiler::Error::Seccomp(error))
            if error.raw_os_error() == Some(ENOMEM) && is_filtered() =>
        {
            Ok("seccomp as in the program that started this one".to_owned())
        }
        Err(error) => Err(error),
    }
}

fn is_filtered() -> bool {
    use rustix::thread::{SecureComputingMode, secure_computing_mode};
    secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter)
}

fn program() -> Result<BpfProgram, BackendError> {
    let always = [FILES, SOCKETS, THREADS, PROCESS, OLD];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always
        .into_iter()
        .flatten()
        .map(|&call| (call, Vec::new()))
        .collect();
    let one_of = |argument: u8, values: &[u64]| -> Result<Vec<SeccompRule>, BackendError> {
        let values = values.iter();
        values
            .map(|&value| rule(argument, SeccompCmpOp::Eq, value))
            .collect()
    };
    let families: Vec<u64> = FAMILIES.iter().map(|&family| family as u64).collect();
    rules.insert(SYS_socket, one_of(0, &families)?);
    rules.insert(SYS_socketpair, one_of(0, &[AF_UNIX as u64])?);
    let requests: Vec<u64> = REQUESTS
        .iter()
        .map(|&request| u64::from(request as u32))
        .collect();
    rules.insert(SYS_ioctl, one_of(1, &requests)?);
    let none_of =
        |argument: u8, bits: i32| rule(argument, SeccompCmpOp::MaskedEq(u64::from(bits as u32)), 0);
    rules.insert(SYS_clone, vec![none_of(0, NAMESPACES)?]);
    // No memory is written and executed, not even one after the other.
    rules.insert(
        SYS_mmap,
        vec![none_of(2, PROT_WRITE)?, none_of(2, PROT_EXEC)?],
    );
    rules.insert(SYS_mprotect, vec![none_of(2, PROT_EXEC)?]);
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(ENOSYS as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Prints what each call comes to with arguments that make sense to none: its error, or 0.
    const CALLS: &str = "
import ctypes, sys
kernel = ctypes.CDLL(None, use_errno=True)
for call in sys.argv[1:]:
    failed = kernel.syscall(int(call), -1, -1, -1, -1, -1, -1) == -1
    print(ctypes.get_errno() if failed else 0)
";

    /// The errors of calls in a process that a thread has started, in the sandbox or not.
    fn errors(is_restricted: bool, script: &'static str, arguments: &[i64]) -> Vec<i32> {
        let arguments: Vec<String> = arguments.iter().map(i64::to_string).collect();
        let output = thread::spawn(move || {
            if is_restricted {
                restrict().expect("the kernel has seccomp");
            }
            let mut python = Command::new("python3");
            python.args(["-c", script]).args(arguments).output()
        });
        let output = output.join().unwrap().expect("python3 starts");
        let text = String::from_utf8(output.stdout).unwrap();
        let failure = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{failure}");
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn what_a_proxy_never_calls_is_not_there() {
        #[rustfmt::skip]
        let calls = [
            ("ptrace", SYS_ptrace), ("mount", SYS_mount), ("unshare", SYS_unshare), ("setns", SYS_setns),
            ("umount2", SYS_umount2), ("pivot_root", SYS_pivot_root), ("chroot", SYS_chroot),
            ("open_tree", SYS_open_tree), ("move_mount", SYS_move_mount), ("fsopen", SYS_fsopen),
            ("clone3", SYS_clone3), ("execveat", SYS_execveat), ("memfd_create", SYS_memfd_create),
            ("process_vm_readv", SYS_process_vm_readv), ("process_vm_writev", SYS_process_vm_writev),
            ("pidfd_getfd", SYS_pidfd_getfd), ("bpf", SYS_bpf), ("perf_event_open", SYS_perf_event_open),
            ("userfaultfd", SYS_userfaultfd), ("io_uring_setup", SYS_io_uring_setup),
            ("keyctl", SYS_keyctl), ("add_key", SYS_add_key), ("init_module", SYS_init_module),
            ("finit_module", SYS_finit_module), ("kexec_load", SYS_kexec_load), ("setuid", SYS_setuid),
            ("setgid", SYS_setgid), ("setresuid", SYS_setresuid), ("setgroups", SYS_setgroups),
            ("mknodat", SYS_mknodat), ("name_to_handle_at", SYS_name_to_handle_at),
            ("open_by_handle_at", SYS_open_by_handle_at), ("sethostname", SYS_sethostname),
            ("clock_settime", SYS_clock_settime), ("swapon", SYS_swapon), ("quotactl", SYS_quotactl),
            ("personality", SYS_personality), ("fanotify_init", SYS_fanotify_init),
        ];
        let numbers = calls.map(|(_, number)| number);
        let outside = errors(false, CALLS, &numbers);
        assert!(
            outside.iter().take(4).all(|&error| error != ENOSYS),
            "{outside:?}"
        );
        let inside = errors(true, CALLS, &numbers);
        for ((name, _), error) in calls.iter().zip(inside) {
            assert_eq!(error, ENOSYS, "{name}");
        }
    }

    /// What is allowed by its arguments, then, after a line with -1, what is not.
    const ARGUMENTS: &str = "
import ctypes, fcntl, mmap, os, socket, sys, termios
kernel = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try:
        print(ctypes.get_errno() if what() == -1 else 0)
    except OSError as error:
        print(error.errno)
memory = mmap.mmap(-1, 4096)
page = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
attempt(lambda: socket.socketpair())
attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE))
attempt(lambda: kernel.mprotect(page, 4096, mmap.PROT_READ))
attempt(lambda: fcntl.ioctl(os.pipe()[0], termios.FIONREAD, bytes(4)))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, 10))
print(-1)
attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt(lambda: socket.socketpair(socket.AF_INET))
attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
attempt(lambda: kernel.mprotect(page, 4096, mmap.PROT_READ | mmap.PROT_EXEC))
attempt(lambda: fcntl.ioctl(os.pipe()[0], termios.TIOCSTI, b'x'))
attempt(lambda: kernel.syscall(int(sys.argv[1]), 0x10000000, 0, 0, 0, 0))
";

    #[test]
    fn arguments_are_looked_at_where_they_matter() {
        let inside = errors(true, ARGUMENTS, &[SYS_clone]);
        let (allowed, refused) = inside.split_at(7);
        assert_eq!(allowed, [0, 0, 0, 0, 0, 0, -1]);
        assert_eq!(refused, [ENOSYS; 7]);
    }
}
