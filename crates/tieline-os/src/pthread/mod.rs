//! The C library's locks, shared between processes: mutex, reader-writer lock, condition variable, barrier.
//!
//! Each lies at a place in shared memory, behind a small header of ours. [`create`](Mutex::create) makes it there;
//! every other process [`attach`](Mutex::attach)es. The invariant: no function of the C library is called on bytes
//! that `create` has not initialised in the very same C library, version and word size, and no lock is unlocked by a
//! thread that does not hold it. A program in C or C++ can share these locks: the object begins 24 bytes
//! ([`HEADER_LEN`]) after the place.
//!
//! # Which one
//! | you want | use | when its holder is killed |
//! |---|---|---|
//! | one at a time | [`Mutex`], robust (the default) | the next locker gets it and is told |
//! | one at a time, among threads that never die alone | [`Mutex`], not robust | **everyone waits for ever** |
//! | many readers or one writer | [`RwLock`] | **writers, or everyone, wait for ever** |
//! | wait until others changed something | [`Condvar`] | a killed waiter can **hang those who signal** |
//! | wait until all have come | [`Barrier`] | **the rest wait for ever** |
//!
//! POSIX has a robust form for the mutex only. Where a peer may be killed and others must go on, use a robust mutex
//! with deadlines.
//!
//! # Trust
//! A process that maps the memory can write over a lock. The C library believes what stands there: a robust mutex
//! even holds pointers. So a writer who scribbles on a lock can crash every process that uses it, or worse, and no
//! check here can prevent that. These locks are for processes that trust each other as threads do, which the caller of
//! the unsafe [`Place::trusting`] promises: nobody who can write the memory, this process included, writes those bytes
//! other than through these types. For memory shared with strangers there are [`crate::posix::sem`], where any bytes are
//! some count, and [`crate::sysv::sem`], which lies in the kernel.
//!
//! # Containers
//! Mutex and reader-writer lock remember thread ids, and a thread id means something in one pid namespace only: in
//! another, the same number is another thread, which would then own the lock too. So attaching from another pid
//! namespace is refused for these two. (Waiters of a priority-inheritance mutex would even boost a stranger.)
//!
//! # Fork
//! A child has copies of its parent's guards but owns none of the locks. Dropping such a guard in the child does
//! nothing to a mutex that checks its owner (any robust, recursive or error-checking one) and unlocks the parent's
//! lock otherwise: end the child with `exec` or `_exit`, or forget the guards.
//!
//! # Making one anew
//! An object is not destroyed when handles are dropped; it ends with its memory. To make one anew in the same place
//! (after [`NotRecoverable`](crate::ErrorKind::NotRecoverable), or because its maker died half-way, which attaching
//! reports as [`Busy`](crate::ErrorKind::Busy)): see to it that nobody uses it, fill its bytes with zero, create.
//!
//! Sources: POSIX.1-2024, section "Threads" and the pages of the functions named below; `pthread_mutexattr_setrobust(3)`.

mod barrier;
mod condvar;
mod mutex;
mod rwlock;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::pthread::{Mismatch, Refusal};
use crate::sys::region::RawRegion;
use crate::{Region, sys};

pub use barrier::Barrier;
pub use condvar::{Condvar, Waited};
pub use mutex::{InheritedGuard, Locked, Mutex, MutexGuard, MutexKind, MutexOptions};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};

/// The bytes before the C library's object; their layout is in `docs/formats/pthread.md`.
pub const HEADER_LEN: usize = sys::pthread::HEADER_LEN;

/// Every place is a multiple of this many bytes; a multiple of 64 also gives the object cache lines of its own.
pub const ALIGN: usize = 8;

/// Where in shared memory an object lies, or shall lie.
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::pthread::{Mutex, MutexOptions, Place};
///
/// let memory = Mapping::anonymous(4096)?;
/// // SAFETY: the memory is ours alone, and nothing else is ever written to these bytes.
/// let place = unsafe { Place::trusting(&memory, 128) };
/// assert!(Mutex::attach(place).is_err(), "nothing there yet");
/// Mutex::create(place, MutexOptions::new())?;
/// let mutex = Mutex::attach(place)?;
/// # drop(mutex);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Place<'r> {
    region: &'r Region,
    offset: usize,
}

impl<'r> Place<'r> {
    /// The constructor for [`trusting`](Self::trusting), which stands where unsafe code may.
    pub(crate) fn at(region: &'r Region, offset: usize) -> Self {
        Self { region, offset }
    }

    /// The memory, after checking that `len` bytes may be used for an object there.
    fn claim(self, operation: &'static str, len: usize) -> Result<(&'r RawRegion, usize)> {
        if !self.region.is_writable() {
            return Err(
                Error::of_kind(operation, ErrorKind::PermissionDenied, "the region is mapped read-only").on(self)
            );
        }
        self.region.check(operation, self.offset, len)?;
        let address = self.region.as_ptr().addr().wrapping_add(self.offset);
        if !address.is_multiple_of(ALIGN) {
            return Err(Error::invalid(operation, format!("a lock must lie on a multiple of {ALIGN} bytes")).on(self));
        }
        Ok((self.region.raw(), self.offset))
    }

    /// Turns the refusal to make or find an object here into a sentence.
    fn refused(self, operation: &'static str, refusal: Refusal) -> Error {
        let (kind, why): (_, std::borrow::Cow<'static, str>) = match refusal {
            Refusal::Failed(errno) => {
                let error = Error::new(operation, errno).on(self);
                return if errno == rustix::io::Errno::NOTSUP {
                    error.sorted_as(ErrorKind::Unsupported)
                } else {
                    error
                };
            }
            Refusal::Exists => (ErrorKind::AlreadyExists, "an object lies there already; attach to it".into()),
            Refusal::Empty => (ErrorKind::NotFound, "no object lies there; create it first".into()),
            Refusal::BeingMade => (
                ErrorKind::Busy,
                "somebody is making or removing it just now; if that process died, fill the bytes with zero".into(),
            ),
            Refusal::Mismatch(mismatch @ Mismatch::PidNamespace { .. }) => {
                (ErrorKind::Unsupported, mismatch.to_string().into())
            }
            Refusal::Mismatch(mismatch) => (ErrorKind::InvalidInput, mismatch.to_string().into()),
        };
        Error::of_kind(operation, kind, why).on(self)
    }
}

/// Turns the refusal to destroy an object into a sentence.
fn destroy_refused(operation: &'static str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Failed(errno) => Error::new(operation, errno),
        _ => Error::of_kind(operation, ErrorKind::NotFound, "another handle has destroyed it, or does so now"),
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}", self.offset)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => write!(f, "the bytes there are something else; an empty place is all zeros"),
            Self::Header { version } => write!(f, "its header has version {version}, this process knows version 1"),
            Self::Sort { number } => {
                let sorts = ["mutex", "reader-writer lock", "condition variable", "barrier"];
                let sort = usize::from(*number).checked_sub(1).and_then(|index| sorts.get(index));
                write!(f, "the object there is a {}", sort.unwrap_or(&"thing of an unknown sort"))
            }
            Self::PointerWidth { bytes } => {
                let ours = size_of::<*const ()>() * 8;
                write!(f, "it was made by a {}-bit program, this one has {ours} bits", u32::from(*bytes) * 8)
            }
            Self::Library { theirs, ours } => {
                write!(f, "it was made by {theirs}, this process runs on {ours}; their locks do not fit each other")
            }
            Self::Size { bytes, ours } => write!(f, "it is {bytes} bytes long, here such an object has {ours}"),
            Self::PidNamespace { theirs, ours } => write!(
                f,
                "it was made in pid namespace {theirs}, this process lives in {ours}; the thread ids in the lock mean \
                 nothing here"
            ),
            Self::Options { bits } => write!(f, "it has options {bits:#x}, which mean nothing"),
        }
    }
}
