//! A kernel that lacks what newer ones have, for tests of what is done without it.

/// Something that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// `futex_waitv`, before Linux 5.16.
    FutexWaitv,
    /// `membarrier`, before Linux 4.3, and in many sandboxes.
    Membarrier,
    /// `epoll_pwait2`, before Linux 5.11.
    EpollPwait2,
    /// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`, before Linux 5.14.
    Populate,
    /// `MFD_EXEC` and `MFD_NOEXEC_SEAL`, before Linux 6.3.
    NoexecSeal,
    /// `F_SEAL_FUTURE_WRITE`, before Linux 5.1.
    FutureWriteSeal,
    /// `SO_PASSRIGHTS`, before Linux 6.16.
    PassRights,
    /// `SO_PEERGROUPS`, before Linux 4.13.
    PeerGroups,
    /// `set_robust_list` and `get_robust_list`, in some sandboxes.
    RobustLists,
    /// `openat2`, before Linux 5.6.
    Openat2,
    /// `pidfd_open` and `pidfd_getfd`, before Linux 5.3 and 5.6.
    Pidfd,
    /// `set_mempolicy`, `mbind` and `get_mempolicy`, without NUMA in the kernel, and in many sandboxes.
    MemoryPolicy,
}

/// From now on, in all threads of this process and in its children, the kernel answers as one that lacks these would.
/// Whether it lets us have it so; it cannot be undone.
#[must_use]
#[allow(unsafe_code, reason = "a filter of system calls is handed to the kernel by pointer")]
pub fn pretend_missing(missing: &[Missing]) -> bool {
    const TSYNC: libc::c_ulong = 1;
    let mut program: Vec<libc::sock_filter> = missing.iter().flat_map(|one| one.rules()).flat_map(Rule::code).collect();
    program.push(step(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog {
        len: program.len().try_into().expect("a few rules"),
        // The kernel only reads it.
        filter: program.as_mut_ptr(),
    };
    // SAFETY: no pointers.
    let is_meek = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    let (operation, program) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::from_ref(&program));
    // SAFETY: the program outlives the call, which copies and checks it.
    is_meek && unsafe { libc::syscall(libc::SYS_seccomp, operation, TSYNC, program) } == 0
}

/// A call that is refused if all conditions on its arguments are met.
struct Rule {
    call: libc::c_long,
    conditions: Vec<Condition>,
    errno: i32,
}

/// On the argument of that number, counted from 0; its lower half.
enum Condition {
    Is(u32, u32),
    HasAnyBitOf(u32, u32),
}

impl Missing {
    fn rules(self) -> Vec<Rule> {
        let call = |call| Rule { call, conditions: Vec::new(), errno: libc::ENOSYS };
        let with = |call, conditions, errno| Rule { call, conditions, errno };
        let option = |call, option: i32| {
            let conditions = vec![Condition::Is(1, 1), Condition::Is(2, option.cast_unsigned())];
            with(call, conditions, libc::ENOPROTOOPT)
        };
        match self {
            Self::FutexWaitv => vec![call(libc::SYS_futex_waitv)],
            Self::Membarrier => vec![call(libc::SYS_membarrier)],
            Self::EpollPwait2 => vec![call(libc::SYS_epoll_pwait2)],
            Self::Populate => {
                [22, 23].map(|advice| with(libc::SYS_madvise, vec![Condition::Is(2, advice)], libc::EINVAL)).into()
            }
            Self::NoexecSeal => {
                vec![with(libc::SYS_memfd_create, vec![Condition::HasAnyBitOf(1, 8 | 16)], libc::EINVAL)]
            }
            Self::FutureWriteSeal => {
                let add_seals = Condition::Is(1, libc::F_ADD_SEALS.cast_unsigned());
                vec![with(libc::SYS_fcntl, vec![add_seals, Condition::HasAnyBitOf(2, 0x10)], libc::EINVAL)]
            }
            Self::PassRights => vec![option(libc::SYS_setsockopt, 83)],
            Self::PeerGroups => vec![option(libc::SYS_getsockopt, 59)],
            Self::RobustLists => vec![call(libc::SYS_set_robust_list), call(libc::SYS_get_robust_list)],
            Self::Openat2 => vec![call(libc::SYS_openat2)],
            Self::Pidfd => vec![call(libc::SYS_pidfd_open), call(libc::SYS_pidfd_getfd)],
            Self::MemoryPolicy => {
                vec![call(libc::SYS_mbind), call(libc::SYS_set_mempolicy), call(libc::SYS_get_mempolicy)]
            }
        }
    }
}

/// Offsets in the kernel's `struct seccomp_data`, whose words have the order of the machine: little-endian here.
const CALL: u32 = 0;
const ARGUMENTS: u32 = 16;

impl Rule {
    /// Falls through to the next rule if this one does not apply.
    fn code(self) -> Vec<libc::sock_filter> {
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        // From the comparison of the call: the rest of the conditions, and the answer.
        let mut rest = u8::try_from(self.conditions.len() * 2 + 1).expect("a few conditions");
        let call = u32::try_from(self.call).expect("the numbers of calls are small");
        let mut code = vec![step(LOAD, CALL, 0, 0), step(libc::BPF_JMP | libc::BPF_JEQ, call, 0, rest)];
        for condition in self.conditions {
            let (argument, test, value) = match condition {
                Condition::Is(argument, value) => (argument, libc::BPF_JEQ, value),
                Condition::HasAnyBitOf(argument, bits) => (argument, libc::BPF_JSET, bits),
            };
            rest -= 2;
            code.push(step(LOAD, ARGUMENTS + 8 * argument, 0, 0));
            code.push(step(libc::BPF_JMP | test, value, 0, rest));
        }
        code.push(step(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | self.errno.cast_unsigned(), 0, 0));
        code
    }
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("16 bits"), jt, jf, k }
}
