//! Deadlines of the C library's lock functions.
//!
//! The old functions count on the realtime clock, which steps. The newer ones (glibc 2.30) take a clock; they are
//! looked up when first needed, because a program must also start where they are missing.

use std::ffi::CStr;
use std::sync::OnceLock;

use libc::{c_int, clockid_t, timespec};
use rustix::io::Errno;
use rustix::thread::futex::Timespec;

use super::check;
use crate::futex::{Clock, Deadline};

/// A lock function that takes a time of day, such as `pthread_mutex_timedlock`.
type TimedLock<T> = unsafe extern "C" fn(*mut T, *const timespec) -> c_int;
/// A lock function that takes a clock and a moment of it, such as `pthread_mutex_clocklock`.
type ClockLock<T> = unsafe extern "C" fn(*mut T, clockid_t, *const timespec) -> c_int;

/// A [`ClockLock`] function that the C library may not have.
pub(super) struct Lookup<T> {
    name: &'static CStr,
    found: OnceLock<Option<ClockLock<T>>>,
}

impl<T> Lookup<T> {
    /// # Safety
    /// If the C library has a function of this name, it must be of this type.
    pub(super) const unsafe fn of(name: &'static CStr) -> Self {
        Self { name, found: OnceLock::new() }
    }

    fn find(&self) -> Option<ClockLock<T>> {
        *self.found.get_or_init(|| {
            // SAFETY: the name is a C string; the default handle is always valid.
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
            if symbol.is_null() {
                return None;
            }
            // SAFETY: a function of this type, as `of` was promised.
            Some(unsafe { std::mem::transmute::<*mut libc::c_void, ClockLock<T>>(symbol) })
        })
    }
}

/// Locks by the deadline's own clock if the C library can, and by the realtime clock otherwise.
///
/// # Safety
/// `object` must be one that both functions may be called with.
pub(super) unsafe fn lock_until<T>(
    object: *mut T,
    deadline: Deadline,
    by_clock: &Lookup<T>,
    by_time_of_day: TimedLock<T>,
) -> Result<(), Errno> {
    if let Some(lock) = by_clock.find() {
        let (clock, at) = (clock_id(deadline), timespec_of(deadline.timespec()));
        // SAFETY: the object is the caller's promise; `at` lives through the call and is a valid time.
        match check(unsafe { lock(object, clock, &raw const at) }) {
            // Priority-inheritance locks know the monotonic clock since glibc 2.34 on Linux 5.14.
            Err(Errno::INVAL) if deadline.clock() == Clock::Monotonic => {}
            answer => return answer,
        }
    }
    let at = timespec_of(deadline.on_realtime().timespec());
    // SAFETY: as above.
    check(unsafe { by_time_of_day(object, &raw const at) })
}

fn clock_id(deadline: Deadline) -> clockid_t {
    match deadline.clock() {
        Clock::Monotonic => libc::CLOCK_MONOTONIC,
        Clock::Realtime => libc::CLOCK_REALTIME,
    }
}

/// The same moment in the C library's type; a moment beyond what that holds is its last.
pub(super) fn timespec_of(moment: &Timespec) -> timespec {
    #[allow(clippy::useless_conversion, reason = "the fields are narrower on 32-bit systems")]
    timespec {
        tv_sec: moment.tv_sec.try_into().unwrap_or(libc::c_long::MAX),
        tv_nsec: moment.tv_nsec.try_into().expect("less than a second"),
    }
}
