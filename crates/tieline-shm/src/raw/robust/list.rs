//! The list of robust words that the kernel and the C library keep for each thread: its head, and its links.

use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::error::{Error, ErrorKind, Result};

/// As the kernel's `struct robust_list_head`.
#[repr(C)]
pub(super) struct Head {
    pub(super) list: *mut u8,
    pub(super) futex_offset: isize,
    pub(super) pending: *mut u8,
}

/// The list head that the C library registered for the calling thread; makes it register one if it has not yet.
pub(super) fn registered_head() -> Result<*mut Head> {
    let asked = ask_for_head()?;
    if !asked.is_null() {
        return Ok(asked);
    }
    // musl registers a thread's list when the thread first takes a robust mutex.
    take_and_leave_a_robust_mutex();
    let asked = ask_for_head()?;
    if asked.is_null() {
        return Err(unsupported("the C library registers no list of held locks"));
    }
    Ok(asked)
}

fn ask_for_head() -> Result<*mut Head> {
    let mut head: *mut Head = ptr::null_mut();
    let mut len: usize = 0;
    // SAFETY: 0 is the calling thread; both are places of the right type.
    let answer = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if answer != 0 {
        return Err(unsupported("the kernel, or a sandbox, does not tell the list of held locks"));
    }
    if !head.is_null() && len != size_of::<Head>() {
        return Err(unsupported("the C library's list of held locks has a size that is not known"));
    }
    Ok(head)
}

fn take_and_leave_a_robust_mutex() {
    // SAFETY: all zeros is a valid value of the type before it is initialised.
    let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut mutex: libc::pthread_mutex_t = unsafe { std::mem::zeroed() };
    // SAFETY: objects of our own, in the order POSIX demands; a call that fails leaves the head unregistered, which the
    // caller finds out.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one argument for one sequence")]
    unsafe {
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        if libc::pthread_mutex_init(&raw mut mutex, &raw const attributes) == 0 {
            if libc::pthread_mutex_lock(&raw mut mutex) == 0 {
                libc::pthread_mutex_unlock(&raw mut mutex);
            }
            libc::pthread_mutex_destroy(&raw mut mutex);
        }
        libc::pthread_mutexattr_destroy(&raw mut attributes);
    }
}

/// # Safety
/// `entry` points at an entry: a word's links, a sentinel's, or one of the C library's.
#[inline]
pub(super) unsafe fn set_next(entry: *mut u8, next: *mut u8) {
    compiler_fence(Ordering::SeqCst);
    // Unaligned: musl's entries lie 28 bytes behind the word.
    // SAFETY: the caller's promise; nobody reads the links but the kernel, after this thread's death.
    unsafe { entry.cast::<*mut u8>().write_unaligned(next) };
    compiler_fence(Ordering::SeqCst);
}

/// # Safety
/// As [`set_next`], and the entry is a sentinel or one of the C library's: only these have a link back.
pub(super) unsafe fn set_prev(entry: *mut u8, prev: *mut u8) {
    let place = entry.wrapping_sub(size_of::<*mut u8>());
    // SAFETY: the caller's promise: the link back stands right before the entry.
    unsafe { place.cast::<*mut u8>().write_unaligned(prev) };
}

/// The lowest bit of a link tells the kernel that the entry is a priority-inheriting lock.
pub(super) fn inheriting(entry: *mut u8) -> *mut u8 {
    entry.map_addr(|address| address | 1)
}

#[inline]
pub(super) fn untagged(entry: *mut u8) -> *mut u8 {
    entry.map_addr(|address| address & !1)
}

pub(super) fn unsupported(why: &'static str) -> Error {
    Error::new("own a lock", ErrorKind::Unsupported).because(why)
}
