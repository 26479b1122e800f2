//! Memory that becomes the contents of a pipe without a copy (`vmsplice`).

use std::ops::{Deref, Range};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::error::{During, Error, Result};
use crate::pipe::PipeWriter;
use crate::region::Region;
use crate::sys;
use crate::sys::mapping::{Mapped, Request};
use crate::wait::{Wait, retry_when_ready};

const OPERATION: &str = "put memory into a pipe";

/// Puts constant bytes into a pipe without copying them, and returns how many were taken.
///
/// Waits for room; takes as much as then fits. Constant memory can neither change nor be freed, so this is safe
/// without any condition.
///
/// ```
/// use tieline_os::{pipe, transfer};
/// static PAGE: [u8; 4096] = [7; 4096];
/// let (reader, writer) = pipe::pipe()?;
/// assert_eq!(transfer::vmsplice_static(&writer, &PAGE)?, 4096);
/// assert_eq!(reader.read(&mut [0; 4096])?, 4096);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `PeerGone` if every reader is gone.
#[doc(alias = "vmsplice")]
pub fn vmsplice_static(to: &PipeWriter, bytes: &'static [u8]) -> Result<usize> {
    lend(to, Wait::Forever, |flags| sys::transfer::vmsplice_constant(to.as_fd(), bytes, flags))
}

/// Puts a range of shared memory into a pipe without copying it, and returns how many bytes were taken.
///
/// Waits for room; takes as much as then fits. The pipe refers to the memory's pages: **what is written to them before
/// the reader reads, the reader sees**, and nothing tells when it has read (an empty pipe does not, the reader may
/// have passed the pages on). Unmapping the region is harmless, the pages live until they are read. To give memory away
/// without that danger use [`Pages::into_gift`].
///
/// # Errors
/// `InvalidInput` if the range does not lie within the region; `PeerGone` if every reader is gone.
#[doc(alias("SPLICE_F_GIFT"))]
pub fn vmsplice(to: &PipeWriter, region: &Region, range: Range<usize>) -> Result<usize> {
    if range.start > range.end {
        return Err(Error::invalid(OPERATION, format!("the range {range:?} ends before it begins")));
    }
    let len = range.len();
    region.check(OPERATION, range.start, len)?;
    lend(to, Wait::Forever, |flags| sys::transfer::vmsplice_region(to.as_fd(), region.raw(), range.start, len, flags))
}

fn lend(to: &PipeWriter, wait: Wait, mut call: impl FnMut(SpliceFlags) -> Result<usize, Errno>) -> Result<usize> {
    let flags = if matches!(wait, Wait::Forever) { SpliceFlags::empty() } else { SpliceFlags::NONBLOCK };
    retry_when_ready(to, PollFlags::OUT, wait, || call(flags)).during(OPERATION)
}

/// Memory of whole pages, filled through [`Region`] and then given away into a pipe.
pub struct Pages {
    memory: Mapped,
}

impl Pages {
    /// Maps `len` zero bytes.
    ///
    /// # Errors
    /// `InvalidInput` if `len` is 0 or more than half the address space; `OutOfMemory`.
    pub fn new(len: usize) -> Result<Self> {
        const MAP: &str = "map memory to give away";
        if len == 0 || isize::try_from(len).is_err() {
            return Err(Error::new(MAP, Errno::INVAL));
        }
        let request = Request { len, writable: true, private: true, no_reserve: false, huge_page_bits: None };
        Mapped::anonymous(request).map(|memory| Self { memory }).during(MAP)
    }

    /// Makes the memory something to give: from now on it cannot be changed.
    pub fn into_gift(self) -> Gift {
        Gift { pages: self, given: 0 }
    }
}

impl Deref for Pages {
    type Target = Region;

    fn deref(&self) -> &Region {
        self.memory.region()
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("len", &self.len()).finish()
    }
}

/// Memory on its way into a pipe: nobody can change it any more, so the reader gets what was put there.
///
/// Dropping it unmaps it here; what the pipe has taken lives on until it is read. Mapping and unmapping costs more than
/// copying a few pages does: measure before preferring this to a plain write.
///
/// ```
/// use tieline_os::{pipe, transfer::Pages};
/// let (reader, writer) = pipe::pipe()?;
/// let pages = Pages::new(5000)?;
/// pages.fill(0, 5000, b'x')?;
/// pages.into_gift().give(&writer)?;
/// let mut buffer = [0; 5000];
/// assert_eq!(reader.read(&mut buffer)?, 5000);
/// assert_eq!(buffer, [b'x'; 5000]);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is given until `give` is called"]
pub struct Gift {
    pages: Pages,
    given: usize,
}

impl Gift {
    /// How many bytes have not been taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.pages.len() - self.given
    }

    /// Gives what fits now, and returns how many bytes were taken; 0 if nothing remains.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits; `PeerGone` if every reader is gone.
    #[doc(alias = "vmsplice")]
    pub fn try_give(&mut self, to: &PipeWriter) -> Result<usize> {
        self.give_some(to, Wait::Never)
    }

    /// Gives all that remains, waiting for room.
    ///
    /// # Errors
    /// `PeerGone` if every reader is gone; [`remaining`](Self::remaining) tells what was not taken.
    pub fn give(&mut self, to: &PipeWriter) -> Result<()> {
        while self.remaining() > 0 {
            self.give_some(to, Wait::Forever)?;
        }
        Ok(())
    }

    /// Gives what fits as soon as something fits, waiting for `timeout` at most, and returns how many bytes were taken.
    ///
    /// # Errors
    /// `TimedOut` if nothing fitted in time; `PeerGone` if every reader is gone.
    pub fn give_timeout(&mut self, to: &PipeWriter, timeout: Duration) -> Result<usize> {
        self.give_some(to, Wait::timeout(timeout))
    }

    fn give_some(&mut self, to: &PipeWriter, wait: Wait) -> Result<usize> {
        let len = self.remaining();
        if len == 0 {
            return Ok(0);
        }
        let (region, start) = (self.pages.raw(), self.given);
        let taken = lend(to, wait, |flags| sys::transfer::vmsplice_region(to.as_fd(), region, start, len, flags))?;
        self.given += taken;
        Ok(taken)
    }
}
