//! `epoll_pwait2`: waiting with a timeout in nanoseconds.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::Timespec;
use rustix::event::epoll::Event;
use rustix::io::Errno;

/// Appends what is ready within `timeout` to `events`, as much as its spare capacity holds; returns how many.
///
/// `ENOSYS` before Linux 5.11.
pub(crate) fn wait(epoll: BorrowedFd<'_>, events: &mut Vec<Event>, timeout: &Timespec) -> Result<usize, Errno> {
    // The kernel's timespec has two 64-bit fields on every machine.
    let timeout: [i64; 2] = [timeout.tv_sec, timeout.tv_nsec];
    let room = events.spare_capacity_mut();
    let most = i32::try_from(room.len()).unwrap_or(i32::MAX);
    // SAFETY: the kernel writes at most `most` events from the start of `room`, which is ours alone and whose
    // elements have the layout of the kernel's epoll_event; `timeout` outlives the call; no signal mask is given.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            room.as_mut_ptr(),
            most,
            timeout.as_ptr(),
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    let count = usize::try_from(super::check(count)?).expect("not negative once checked");
    let len = events.len() + count;
    // SAFETY: the kernel has just initialised `count` events, no more than the spare capacity holds.
    unsafe { events.set_len(len) };
    Ok(count)
}
