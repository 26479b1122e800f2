//! `epoll_pwait2`: waiting with a timeout in nanoseconds.

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::Timespec;
use rustix::event::epoll::Event;
use rustix::io::Errno;

/// Room for events, on whatever thread.
pub(crate) struct EventList(Vec<Event>);

// SAFETY: an event is two numbers. What keeps it from being Send is only that its data could be read as a pointer; this
// crate stores and reads it as a u64, and a pointer in it would be followed by nobody.
unsafe impl Send for EventList {}
// SAFETY: as for Send; there is nothing in it that a shared reference could change.
unsafe impl Sync for EventList {}

impl EventList {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }
}

impl Deref for EventList {
    type Target = Vec<Event>;

    fn deref(&self) -> &Vec<Event> {
        &self.0
    }
}

impl DerefMut for EventList {
    fn deref_mut(&mut self) -> &mut Vec<Event> {
        &mut self.0
    }
}

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
