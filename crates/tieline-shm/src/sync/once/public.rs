//! Doing something once among all processes: [`OnceCell`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::core::{DONE, look, look_or_make};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::raw::atomic::AtomicU64;
use crate::rendezvous::IntoName;
use crate::segment::{Details, Fact};
use crate::sync::error::LockError;
use crate::sync::mutex::{Data, MutexOptions, MutexWords, RawMutex};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// A value in shared memory that is made once, by whichever process asks first, and is there for all from then on.
///
/// If the one that makes it dies at it, or panics, the next who asks makes it. A value that is there costs one load.
///
/// ```
/// use tieline_shm::sync::OnceCell;
///
/// let port = OnceCell::<u16>::anonymous()?;
/// assert_eq!(port.get()?, None);
/// assert_eq!(port.get_or_init(|| 7411)?, 7411);
/// assert_eq!(port.get_or_init(|| 7412)?, 7411);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Trust
/// Everyone who has the segment is trusted not to change the value afterwards. It is handed out as a copy, and the
/// bytes are checked.
pub struct OnceCell<T: ShmSafe> {
    lock: RawMutex,
    /// 0: not there; 1: there, and never written again.
    done: View<AtomicU64>,
    data: Data<T>,
    place: Place,
}

/// Something that is done once among all processes: a [`OnceCell`] of nothing.
///
/// ```
/// use tieline_shm::sync::Once;
///
/// let migration = Once::anonymous()?;
/// migration.call_once(|| println!("here, and in no other process"))?;
/// assert!(migration.is_done());
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Debug)]
pub struct Once {
    cell: OnceCell<u8>,
}

const DONE_OFFSET: usize = size_of::<MutexWords>();

impl<T: ShmSafe> OnceCell<T> {
    const DATA_OFFSET: usize = Data::<T>::offset_after(DONE_OFFSET + size_of::<AtomicU64>());

    /// Makes a cell without a value, in a segment of its own.
    ///
    /// # Errors
    /// `OutOfMemory`, `LimitReached` (descriptors), `System`.
    pub fn anonymous() -> Result<Self> {
        Self::over(Place::anonymous("", Self::plan()?)?, "")
    }

    /// The cell whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is for another type or is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a cell";;);

    fn form() -> Form {
        Form::lock(layout_hash::<T>(), format!("a value that is made once: {}", T::LAYOUT))
    }

    fn plan() -> Result<Plan<'static>> {
        Ok(Plan::new(Self::form(), Self::DATA_OFFSET.saturating_add(size_of::<T>()), |segment| {
            let facts = [&MutexWords::FACTS[..], &[Fact::word("once done", DONE_OFFSET)]];
            segment.describe(&Details { layout: Some(T::LAYOUT), version: 1, facts: &facts.concat() })?;
            RawMutex::make(&*segment.view(0)?, &MutexOptions::new());
            Ok(())
        }))
    }

    fn over(place: Place, name: &str) -> Result<Self> {
        let segment = place.segment();
        let lock = RawMutex::attach(segment.view(0)?, name)?;
        Ok(Self { lock, done: segment.view(DONE_OFFSET)?, data: Data::at(segment, Self::DATA_OFFSET)?, place })
    }

    /// The descriptor to send to peers.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// The value, if it is there. Never waits.
    ///
    /// # Errors
    /// `Corrupted` if a peer wrote what is no value of `T`.
    pub fn get(&self) -> Result<Option<T>> {
        look(&self.done, || self.read())
    }

    /// The value, which is there.
    fn read(&self) -> Result<T> {
        self.data.check(false)?;
        // SAFETY: written once, before `done`, and by trusted peers never again; checked.
        Ok(*unsafe { self.data.get() })
    }

    /// The value; made by `init` if it is not there. Waits while another makes it, as long as that takes.
    ///
    /// # Errors
    /// `Deadlock`: `init` asks for the value it makes. `Corrupted`, `Unsupported`, `LimitReached` as for locks.
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> Result<T> {
        self.get_or_init_until(Until::Forever, init)
    }

    /// As [`get_or_init`](Self::get_or_init), waiting for another's `init` for at most `timeout`; how long one's own
    /// takes is one's own affair.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as `get_or_init`.
    pub fn get_or_init_timeout(&self, timeout: Duration, init: impl FnOnce() -> T) -> Result<T> {
        self.get_or_init_until(Until::At(Deadline::after(timeout)), init)
    }

    fn get_or_init_until(&self, until: Until, init: impl FnOnce() -> T) -> Result<T> {
        let lock = || match self.lock.lock_with(until) {
            Ok(guard) => Ok(guard),
            Err(LockError::OwnerDied(guard)) => {
                // What it left is not looked at unless it was done.
                guard.mark_consistent();
                Ok(guard)
            }
            Err(LockError::Failed(error)) => Err(error),
        };
        let make = || {
            let value = init();
            self.data.init(value);
            value
        };
        look_or_make(&self.done, || self.read(), lock, make)
    }
}

impl Once {
    /// Makes one, not done yet, in a segment of its own.
    ///
    /// # Errors
    /// As [`OnceCell::anonymous`].
    pub fn anonymous() -> Result<Self> {
        OnceCell::anonymous().map(|cell| Self { cell })
    }

    /// Makes one under a free name; see [`OnceCell::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(name: impl IntoName) -> Result<Self> {
        OnceCell::create(name).map(|cell| Self { cell })
    }

    /// Opens one by its name; see [`OnceCell::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(name: impl IntoName) -> Result<Self> {
        OnceCell::open(name).map(|cell| Self { cell })
    }

    /// Opens one by its name, or makes it; see [`OnceCell::open_or_create`]. It is forgotten that it was done when the
    /// last process that has it open leaves.
    ///
    /// # Errors
    /// As there.
    pub fn open_or_create(name: impl IntoName) -> Result<Self> {
        OnceCell::open_or_create(name).map(|cell| Self { cell })
    }

    /// The one whose segment a peer sent.
    ///
    /// # Errors
    /// As [`OnceCell::from_fd`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        OnceCell::from_fd(fd).map(|cell| Self { cell })
    }

    /// The descriptor to send to peers.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.cell.as_fd()
    }

    /// Whether it is done. Never waits.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.cell.get(), Ok(Some(_)))
    }

    /// Does it, unless it is done; when this returns, it is done.
    ///
    /// # Errors
    /// As [`OnceCell::get_or_init`].
    pub fn call_once(&self, action: impl FnOnce()) -> Result<()> {
        self.cell.get_or_init(|| done_by(action)).map(drop)
    }

    /// As [`call_once`](Self::call_once), waiting for another that does it for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as `call_once`.
    pub fn call_once_timeout(&self, timeout: Duration, action: impl FnOnce()) -> Result<()> {
        self.cell.get_or_init_timeout(timeout, || done_by(action)).map(drop)
    }
}

fn done_by(action: impl FnOnce()) -> u8 {
    action();
    1
}

impl<T: ShmSafe> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_done = self.done.load(Ordering::Relaxed) == DONE;
        f.debug_struct("OnceCell").field("is_done", &is_done).finish_non_exhaustive()
    }
}

fn layout_hash<T: ShmSafe>() -> u64 {
    T::LAYOUT.hash() ^ u64::from_le_bytes(*b"once\0\0\0\x01")
}
