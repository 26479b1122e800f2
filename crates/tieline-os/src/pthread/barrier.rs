//! Waiting until all have come.

use std::fmt;

use super::Place;
use crate::error::{During, Error, Result};
use crate::sys::pthread as sys;

const CREATE: &str = "create shared barrier";
const ATTACH: &str = "attach to shared barrier";

/// A barrier of the C library that processes share: a fixed number of threads wait until all of them have come.
///
/// # Death of a peer
/// POSIX knows neither a deadline nor a robust form here. If one of the expected threads dies before it comes, the
/// rest wait for ever; nothing but a signal that ends them gets them out. Watch the peers by other means
/// ([`pidfd`](crate::pidfd)), or count those who have come in a word and sleep on it with a deadline
/// ([`futex`](crate::futex)).
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::pthread::{Barrier, Place};
///
/// let memory = Mapping::anonymous(4096)?;
/// // SAFETY: the memory is for this barrier alone.
/// let place = unsafe { Place::trusting(&memory, 0) };
/// let barrier = Barrier::create(place, 2)?;
/// let leaders = std::thread::scope(|scope| {
///     let other = scope.spawn(|| barrier.wait());
///     let mine = barrier.wait()?;
///     Ok::<_, tieline_os::Error>(u32::from(mine) + u32::from(other.join().unwrap()?))
/// })?;
/// assert_eq!(leaders, 1);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "pthread_barrier_t")]
pub struct Barrier<'r> {
    inner: sys::Barrier<'r>,
}

impl<'r> Barrier<'r> {
    /// How many bytes it takes: 56 on 64-bit Linux.
    pub const LEN: usize = sys::Barrier::LEN;

    /// Makes a barrier for `count` threads (at least one) at `place`, whose bytes must be zero. Does not block.
    ///
    /// # Errors
    /// As [`Mutex::create`](super::Mutex::create), and `InvalidInput` for a count of zero or one beyond what the C
    /// library counts to.
    #[doc(alias = "pthread_barrier_init")]
    pub fn create(place: Place<'r>, count: u32) -> Result<Self> {
        if count == 0 {
            return Err(Error::invalid(CREATE, "nobody would ever come: the count is zero"));
        }
        let (region, offset) = place.claim(CREATE, Self::LEN)?;
        let inner = sys::Barrier::create_barrier(region, offset, count);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(CREATE, refusal))
    }

    /// Finds the barrier that another process made at `place`. Does not block.
    ///
    /// # Errors
    /// As [`Mutex::attach`](super::Mutex::attach), except that pid namespaces do not matter.
    pub fn attach(place: Place<'r>) -> Result<Self> {
        let (region, offset) = place.claim(ATTACH, Self::LEN)?;
        let inner = sys::Barrier::attach_barrier(region, offset);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(ATTACH, refusal))
    }

    /// How many threads it waits for.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.inner.options()
    }

    /// Waits until all have come; true for exactly one of them. The barrier is then ready for the next round.
    ///
    /// Signal handlers that run meanwhile do not end the wait. It has no deadline; see above.
    ///
    /// # Errors
    /// The C library's refusal, which means that the object's bytes have been written over.
    #[doc(alias = "pthread_barrier_wait")]
    pub fn wait(&self) -> Result<bool> {
        self.inner.wait().during("wait at shared barrier")
    }

    /// Ends the object and leaves its place empty, after the last thread of the finished round has left. Nobody may
    /// come to it meanwhile. Waits for ever if a thread was killed on its way out.
    ///
    /// # Errors
    /// `NotFound` if another did it first.
    #[doc(alias = "pthread_barrier_destroy")]
    pub fn destroy(self) -> Result<()> {
        const DESTROY: &str = "destroy shared barrier";
        self.inner.destroy_barrier().map_err(|refusal| super::destroy_refused(DESTROY, refusal))
    }
}

impl fmt::Debug for Barrier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("count", &self.count()).finish_non_exhaustive()
    }
}
