//! A seccomp filter below the VMM's own: what no VMM needs, and what would reach beyond its process.
//!
//! Two programs, since each has one answer. `denied` fails with EPERM. `absent` fails with ENOSYS: `clone3`, whose flags a
//! filter cannot see, so that the C library falls back to `clone`; and the x32 ABI, whose numbers the other would not
//! recognise. System calls of 32-bit programs end the process.
//!
//! `execve` stays: the VMM is executed after this. Everything else that begins a process is denied, so it is the only one
//! of its jail. The parent-death signal cannot be cleared by asking; that no thread without it executes another program is up to
//! the VMM's own filter, which knows no `execve`.

use super::Sockets;
use super::level::{Obstacle, Step};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;

/// Stands for the process id in the program, which only the child knows. No id is that large.
const OWN_PID: u32 = 0x7ab1_e51d;

const PERMISSION: u32 = libc::EPERM.unsigned_abs();
const NO_SYSTEM_CALL: u32 = libc::ENOSYS.unsigned_abs();

/// Never, whatever the arguments.
pub(super) const DENIED: &[i64] = &[
    // Other processes.
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Attributes of files, which Landlock leaves to whoever owns them.
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    // What the processes of a host share by number or name.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Parts of the kernel that have been a way in. What io_uring does no filter sees.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_modify_ldt,
    // The host.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

// Newer than the C library's headers.
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_OPEN_TREE_ATTR: i64 = 467;

/// Signals, whose first argument says to whom.
const TO_A_PROCESS: &[i64] = &[
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
];

/// How a processor's time is shared out, whose first argument says to whom; zero is the caller.
const TO_A_THREAD: &[i64] = &[
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];

/// The same, for one of the kinds that the first argument says; a process is the one named here.
const TO_A_KIND: [(i64, i32); 2] = [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)];
const IOPRIO_WHO_PROCESS: i32 = 1;

/// What makes the kernel send signals to whom a descriptor's owner says.
const OWNERS_BY_FCNTL: [i32; 2] = [libc::F_SETOWN, F_SETOWN_EX];
const F_SETOWN_EX: i32 = 15;
const OWNERS_BY_IOCTL: [u32; 2] = [FIOSETOWN, SIOCSPGRP];
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

/// CLONE_NEWTIME is in the bits of the exit signal, and for `clone3` and `unshare` alone.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

pub(super) struct Filter {
    denied: BpfProgram,
    absent: BpfProgram,
}

impl Filter {
    pub(super) fn prepare(sockets: Sockets, tkill: bool) -> Result<Self, BackendError> {
        let (allow, deny) = (SeccompAction::Allow, SeccompAction::Errno(PERMISSION));
        let denied =
            SeccompFilter::new(rules(sockets, tkill)?, allow, deny, TargetArch::x86_64)?.try_into()?;
        Ok(Self { denied, absent: absent() })
    }

    /// In the child, last: some of what the jail is made with is denied from here on.
    pub(super) fn enter(&mut self) -> Result<(), Obstacle> {
        let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        for instruction in &mut self.denied {
            if instruction.k == OWN_PID {
                instruction.k = own;
            }
        }
        for program in [&self.absent, &self.denied] {
            apply_filter(program).map_err(|error| {
                let errno = match error {
                    seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                        error.raw_os_error()
                    }
                    _ => None,
                };
                Obstacle { step: Step::Filter, errno: errno.unwrap_or(libc::EINVAL) }
            })?;
        }
        Ok(())
    }
}

fn rules(sockets: Sockets, tkill: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, vec![])).collect();
    for call in TO_A_PROCESS.iter().filter(|call| !tkill || **call != libc::SYS_tkill) {
        rules.insert(*call, vec![when(&[(0, SeccompCmpOp::Ne, OWN_PID)])?]);
    }
    for call in TO_A_THREAD {
        rules.insert(*call, vec![when(&[(0, SeccompCmpOp::Ne, 0)])?]);
    }
    for (call, process) in TO_A_KIND {
        let another_kind = when(&[(0, SeccompCmpOp::Ne, process.unsigned_abs())])?;
        rules.insert(call, vec![another_kind, when(&[(1, SeccompCmpOp::Ne, 0)])?]);
    }
    let to = |operation| when(&[(1, SeccompCmpOp::Eq, operation)]);
    let owners = OWNERS_BY_FCNTL.map(i32::unsigned_abs).map(to);
    rules.insert(libc::SYS_fcntl, owners.into_iter().collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_ioctl, OWNERS_BY_IOCTL.map(to).into_iter().collect::<Result<_, _>>()?);
    // Zero is the process itself.
    let limits_of_others = [(0, SeccompCmpOp::Ne, OWN_PID), (0, SeccompCmpOp::Ne, 0)];
    rules.insert(libc::SYS_prlimit64, vec![when(&limits_of_others)?]);
    let no_signal_at_death = (0, SeccompCmpOp::Eq, libc::PR_SET_PDEATHSIG.unsigned_abs());
    rules.insert(libc::SYS_prctl, vec![when(&[no_signal_at_death])?]);
    let thread = libc::CLONE_THREAD.unsigned_abs();
    let mut clone = vec![when(&[(0, SeccompCmpOp::MaskedEq(thread.into()), 0)])?];
    for flag in NAMESPACES.map(i32::unsigned_abs) {
        clone.push(when(&[(0, SeccompCmpOp::MaskedEq(flag.into()), flag)])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let socket = match sockets {
        Sockets::None => vec![],
        Sockets::Unix => vec![when(&[(0, SeccompCmpOp::Ne, libc::AF_UNIX.unsigned_abs())])?],
    };
    rules.insert(libc::SYS_socket, socket);
    Ok(rules)
}

/// All of `conditions`, each an argument's place, how it compares, and to what.
fn when(conditions: &[(u8, SeccompCmpOp, u32)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|(place, operator, value)| {
        SeccompCondition::new(*place, SeccompCmpArgLen::Dword, operator.clone(), u64::from(*value))
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// The crate knows neither a second answer nor the x32 ABI.
#[expect(clippy::cast_possible_truncation, reason = "codes have 16 bits, and numbers of system calls 32")]
fn absent() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X32: u32 = 0x4000_0000;
    const CLONE3: u32 = libc::SYS_clone3 as u32;
    let instruction = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    vec![
        // The number, which data begins with.
        instruction(LOAD, 0, 0, 0),
        instruction(AT_LEAST, X32, 2, 0),
        instruction(EQUAL, CLONE3, 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        instruction(RETURN, libc::SECCOMP_RET_ERRNO | NO_SYSTEM_CALL, 0, 0),
    ]
}
