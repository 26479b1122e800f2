//! `pidfd_send_signal` with a value, `kcmp`, and the status of a process that is not our child.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Where the kernel's `siginfo_t` has the fields of a signal that carries a value (`si_code` is `SI_QUEUE`).
#[repr(C)]
struct QueuedSignal {
    // MIPS has the second and third the other way round; no port of this crate is built for it.
    number: i32,
    errno: i32,
    code: i32,
    fields: Queued,
}

/// Starts at the alignment of a pointer, because the value may be one.
#[repr(C)]
struct Queued {
    pid: i32,
    uid: u32,
    value: libc::sigval,
}

/// `sizeof(siginfo_t)` on Linux, whatever the machine.
const SIGINFO_SIZE: usize = 128;

/// A `siginfo_t` as bytes, so that the padding between its fields is zero and not whatever stood there.
#[repr(C, align(8))]
struct SigInfo([u8; SIGINFO_SIZE]);

/// Sends `number` to the process or thread behind `pidfd`; with a value it is queued as `sigqueue` does.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, number: i32, value: Option<i32>) -> Result<(), Errno> {
    let info = value.map(|value| queued(number, value));
    let pointer = info.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the kernel only reads: nothing if the pointer is null, else the 128 bytes of `info`, which live to the
    // end of the call.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, pointer, 0) };
    super::check(answer).map(drop)
}

fn queued(number: i32, value: i32) -> SigInfo {
    const FIELDS: usize = offset_of!(QueuedSignal, fields);
    let mut info = SigInfo([0; SIGINFO_SIZE]);
    let mut put = |offset: usize, word: [u8; 4]| info.0[offset..offset + 4].copy_from_slice(&word);
    put(offset_of!(QueuedSignal, number), number.to_ne_bytes());
    put(offset_of!(QueuedSignal, code), libc::SI_QUEUE.to_ne_bytes());
    put(FIELDS + offset_of!(Queued, pid), rustix::process::getpid().as_raw_pid().to_ne_bytes());
    put(FIELDS + offset_of!(Queued, uid), rustix::process::getuid().as_raw().to_ne_bytes());
    // C's union sigval as an int occupies the pointer's first bytes, on either byte order.
    put(FIELDS + offset_of!(Queued, value), value.to_ne_bytes());
    info
}

/// Whether two processes share one address space; `pid` and the calling process.
pub(crate) fn shares_our_memory(pid: rustix::process::Pid) -> Result<bool, Errno> {
    const KCMP_VM: i32 = 1;
    let (ours, theirs) = (rustix::process::getpid().as_raw_nonzero().get(), pid.as_raw_nonzero().get());
    // SAFETY: takes five integers and touches no memory of the caller.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, ours, theirs, KCMP_VM, 0, 0) };
    super::check(answer).map(|order| order == 0)
}

/// Compares the open file descriptions behind two descriptors of two processes, in an order of the kernel's own choice
/// that stays the same while it runs.
pub(crate) fn compare_descriptions(
    one: (rustix::process::Pid, i32),
    other: (rustix::process::Pid, i32),
) -> Result<std::cmp::Ordering, Errno> {
    const KCMP_FILE: i32 = 0;
    let (one_pid, other_pid) = (one.0.as_raw_nonzero().get(), other.0.as_raw_nonzero().get());
    // The kernel takes the numbers as unsigned long: a negative one is no descriptor for it either.
    let (one_fd, other_fd) = (i64::from(one.1), i64::from(other.1));
    // SAFETY: takes five integers and touches no memory of the caller.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, one_pid, other_pid, KCMP_FILE, one_fd, other_fd) };
    super::check(answer).and_then(|order| match order {
        0 => Ok(std::cmp::Ordering::Equal),
        1 => Ok(std::cmp::Ordering::Less),
        2 => Ok(std::cmp::Ordering::Greater),
        // 3: different, but the kernel keeps the order to itself.
        _ => Err(Errno::NOTSUP),
    })
}

/// Bytes in the pipe or FIFO behind a number of this process, and how many fit. `BADF` for anything else.
pub(crate) fn fill_of_pipe(fd: i32) -> Result<(u64, u64), Errno> {
    // SAFETY: takes integers and touches no memory of the caller; whatever the number names stays open and as it is.
    let size = unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) };
    let size = super::check(size)?;
    let mut unread: libc::c_int = 0;
    // SAFETY: the number was a pipe's just now, for which this writes one int to `unread`, as it does for every file that
    // knows it; nothing else is touched.
    let answer = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut unread) };
    super::check(answer)?;
    Ok((u64::from(unread.cast_unsigned()), u64::from(size.cast_unsigned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout the kernel reads, checked against libc's own accessors.
    #[test]
    fn a_queued_signal_has_the_layout_of_siginfo() {
        assert_eq!(size_of::<SigInfo>(), size_of::<libc::siginfo_t>());
        let info = queued(libc::SIGUSR1, -7);
        // SAFETY: same size, and any bytes are a valid siginfo_t.
        let info: libc::siginfo_t = unsafe { std::mem::transmute(info) };
        assert_eq!((info.si_signo, info.si_code), (libc::SIGUSR1, libc::SI_QUEUE));
        // SAFETY: the code says that these fields are set.
        let pid = unsafe { info.si_pid() };
        // SAFETY: as above.
        let value = unsafe { info.si_value() };
        assert_eq!(pid as u32, std::process::id());
        assert_eq!(value.sival_ptr.addr() as u32 as i32, -7);
    }

    /// Sent to one thread that has blocked it, the signal arrives with value, sender and the right code.
    #[test]
    fn a_value_arrives_with_its_signal() {
        let number = libc::SIGRTMAX();
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set.
        assert_eq!(unsafe { libc::sigemptyset(set.as_mut_ptr()) }, 0);
        // SAFETY: the set is initialised.
        let mut set = unsafe { set.assume_init() };
        // SAFETY: an initialised set and a valid number.
        assert_eq!(unsafe { libc::sigaddset(&raw mut set, number) }, 0);
        // SAFETY: blocks one signal in this thread, which the test runner does not use.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) }, 0);

        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let me = match crate::pidfd::PidFd::open_thread(tid) {
            Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
            me => me.expect("this thread lives"),
        };
        let signal = crate::signal::Signal::new(number).expect("a signal");
        for value in [-7, i32::MAX] {
            me.send_signal_with(signal, value).expect("sent");
        }
        for value in [-7, i32::MAX] {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the kernel writes one siginfo_t; the signal is pending, so this does not wait.
            assert_eq!(unsafe { libc::sigwaitinfo(&raw const set, info.as_mut_ptr()) }, number);
            // SAFETY: zeroed, then written by the kernel.
            let info = unsafe { info.assume_init() };
            // SAFETY: a queued signal has these fields.
            let sender = unsafe { info.si_pid() };
            // SAFETY: as above.
            let got = unsafe { info.si_value() };
            assert_eq!((info.si_code, sender.cast_unsigned()), (libc::SI_QUEUE, std::process::id()));
            assert_eq!(got.sival_ptr.addr() as u32 as i32, value);
        }
    }
}
