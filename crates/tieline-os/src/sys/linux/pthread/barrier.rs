//! Barriers.

use std::mem::MaybeUninit;

use libc::{pthread_barrier_t, pthread_barrierattr_t};
use rustix::io::Errno;

use super::check;
use super::placed::{Placed, Refusal, Sort};
use crate::sys::region::RawRegion;

pub(crate) type Barrier<'r> = Placed<'r, pthread_barrier_t>;

// SAFETY: the C library's own type: an array of bytes and words, 8-aligned at most.
unsafe impl Sort for pthread_barrier_t {
    const NUMBER: u8 = 4;
    const KEEPS_THREAD_IDS: bool = false;
}

impl<'r> Placed<'r, pthread_barrier_t> {
    pub(crate) fn create_barrier(region: &'r RawRegion, offset: usize, count: u32) -> Result<Self, Refusal> {
        Self::create(region, offset, count, |barrier| {
            let attributes = Attributes::new()?;
            // SAFETY: `barrier` is the address of a zeroed object of ours alone (`create`); the attributes are
            // initialised.
            check(unsafe { libc::pthread_barrier_init(barrier, &raw const attributes.0, count) })
        })
    }

    pub(crate) fn attach_barrier(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        Self::attach(region, offset)
    }

    pub(crate) fn destroy_barrier(self) -> Result<(), Refusal> {
        // SAFETY: the object is initialised; `remove` keeps others from attaching meanwhile.
        self.remove(|barrier| check(unsafe { libc::pthread_barrier_destroy(barrier) }))
    }

    /// Waits for the others; true for one of them.
    pub(crate) fn wait(&self) -> Result<bool, Errno> {
        // SAFETY: the object is initialised and mapped for as long as `self` is.
        let answer = unsafe { libc::pthread_barrier_wait(self.as_ptr()) };
        if answer == libc::PTHREAD_BARRIER_SERIAL_THREAD { Ok(true) } else { check(answer).map(|()| false) }
    }
}

struct Attributes(pthread_barrierattr_t);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the address of space for attributes.
        check(unsafe { libc::pthread_barrierattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: initialised attributes, a value of the documented set.
        check(unsafe { libc::pthread_barrierattr_setpshared(&raw mut attributes.0, libc::PTHREAD_PROCESS_SHARED) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        let _ = unsafe { libc::pthread_barrierattr_destroy(&raw mut self.0) };
    }
}
