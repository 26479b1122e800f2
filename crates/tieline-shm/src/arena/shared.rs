//! An arena under a name, with the lock that orders its users: [`SharedArena`].
//!
//! Both lie in one segment: the table of members, the lock, the arena. The invariant: the arena is changed only under
//! the lock for writing, and read only under the lock, of which a dead holder's share is taken back first.

use std::fmt;
use std::ops::Deref;
use std::sync::{PoisonError, RwLock as LocalLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::{Arena, ArenaOptions, Change, FORMAT, Store, establish};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{IntoName, Name};
use crate::segment::{Kind, Segment};
use crate::sync::place::{Form, Place, Plan, table_bytes};
use crate::sync::{LockError, ReadGuard, RwLock, RwLockOptions, WriteGuard};

/// An [`Arena`] by name, under a reader-writer lock: data of any shape that many processes read and change, and that no
/// death leaves half changed.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::{SharedArena, ShmMap};
///
/// let settings = SharedArena::open_or_create("settings", 1 << 20)?; // in any number of processes
/// settings.write()?.change(|change| {
///     let ports: ShmMap<u32, u16> = change.root_or_new()?;
///     ports.insert(change, &1, &7411)
/// })?;
///
/// let arena = settings.read()?;
/// let ports: ShmMap<u32, u16> = arena.root()?.expect("somebody has begun");
/// assert_eq!(ports.get(&arena, &1)?, Some(7411));
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// It is for the processes of one user, and lives while any has it open. For data that shall outlive them use a file:
/// [`ArenaOptions::open_or_create_file`].
///
/// # Death
/// Of a reader: nobody is told. Of a writer, at any instruction: the next who locks, for reading or writing, takes its
/// unfinished change back and goes on, so nobody sees half of it, nobody has to repair, and
/// [`ArenaUsage::recoveries`](super::ArenaUsage::recoveries) counts it. Changes that it had finished hold.
///
/// # Recursion
/// As for [`RwLock`]: a thread that holds a guard must not ask for another one, and is refused with `Deadlock` where
/// the wait could not end.
pub struct SharedArena {
    /// For the threads of this process; taken after the lock, so never waited for.
    arena: LocalLock<Arena>,
    lock: RwLock<u64>,
}

/// How a [`SharedArena`] is made.
#[derive(Clone, Debug)]
pub struct SharedArenaOptions {
    arena: ArenaOptions,
    lock: RwLockOptions,
}

/// The arena can be read as long as this lives, and nobody changes it. Not to be sent to another thread.
#[must_use = "the lock is given back when this is dropped"]
pub struct ArenaReadGuard<'a> {
    // In this order: the arena is let go before the lock.
    arena: RwLockReadGuard<'a, Arena>,
    _lock: ReadGuard<'a, u64>,
}

/// The arena is ours alone as long as this lives. Not to be sent to another thread.
#[must_use = "the lock is given back when this is dropped"]
pub struct ArenaWriteGuard<'a> {
    // In this order: the arena is let go before the lock.
    arena: RwLockWriteGuard<'a, Arena>,
    _lock: WriteGuard<'a, u64>,
}

const OPEN: &str = "open a shared arena";

/// What all shared arenas have for a layout.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"shrdarn\x01");

impl SharedArena {
    /// Sizes and the kind of the lock other than the usual.
    #[must_use]
    pub fn options() -> SharedArenaOptions {
        SharedArenaOptions { arena: ArenaOptions::new(""), lock: RwLockOptions::new() }
    }

    /// Makes an arena of `len_bytes` under a free name; see [`SharedArenaOptions::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(name: impl IntoName, len_bytes: usize) -> Result<Self> {
        Self::options().create(name, len_bytes)
    }

    /// Opens the arena of that name, as its creator made it. It can be open 256 times at once, in all processes.
    /// Waits 5 s at most, for a host of the name that does not answer.
    ///
    /// # Errors
    /// * `NotFound`: nobody uses the name. `Mismatch`: it is something else's, or of another version.
    /// * `PermissionDenied`: it is another user's. `LimitReached`: it is open 256 times. `TimedOut`: its host is
    ///   stopped. `Corrupted`; `InvalidInput`, `OutOfMemory`, `System`.
    pub fn open(name: impl IntoName) -> Result<Self> {
        let name = name.into_name()?;
        Self::over(Place::open(&name, form())?, &name)
    }

    /// Opens the arena of that name, or makes one of `len_bytes`; see [`SharedArenaOptions::open_or_create`].
    ///
    /// # Errors
    /// As there.
    pub fn open_or_create(name: impl IntoName, len_bytes: usize) -> Result<Self> {
        Self::options().open_or_create(name, len_bytes)
    }

    fn over(place: Place, name: &Name) -> Result<Self> {
        let segment = place.segment().share();
        let lock = RwLock::over(place.moved(segment.with_front(table_bytes())), name.as_str())?;
        let readers = u32::try_from(lock.readers()).unwrap_or(0);
        if segment.front() != table_bytes() + lock_bytes(readers) {
            return Err(Error::new(OPEN, ErrorKind::Corrupted).on(name).because("its parts do not lie as they should"));
        }
        Ok(Self { arena: LocalLock::new(Arena::over(Store::Shared(segment))?), lock })
    }

    /// Locks for reading, waiting as long as it takes.
    ///
    /// # Errors
    /// `Deadlock`, `LimitReached`, `Unsupported`, `System` as for [`RwLock::read`]; `Corrupted` if somebody wrote to
    /// what a dead writer left.
    #[track_caller]
    pub fn read(&self) -> Result<ArenaReadGuard<'_>> {
        loop {
            match self.lock.read() {
                Err(error) if error.kind() == ErrorKind::OwnerDied => drop(self.write()?),
                locked => return Ok(self.reading(locked?)),
            }
        }
    }

    /// Locks for reading if no writer is inside or waits to be; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`read`](Self::read).
    #[track_caller]
    pub fn try_read(&self) -> Result<ArenaReadGuard<'_>> {
        loop {
            match self.lock.try_read() {
                Err(error) if error.kind() == ErrorKind::OwnerDied => drop(self.try_write()?),
                locked => return Ok(self.reading(locked?)),
            }
        }
    }

    /// Locks for reading, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`read`](Self::read).
    #[track_caller]
    pub fn read_timeout(&self, timeout: Duration) -> Result<ArenaReadGuard<'_>> {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match self.lock.read_timeout(left) {
                Err(error) if error.kind() == ErrorKind::OwnerDied => drop(self.write_timeout(left)?),
                locked => return Ok(self.reading(locked?)),
            }
        }
    }

    /// Locks for changing, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn write(&self) -> Result<ArenaWriteGuard<'_>> {
        self.writing(self.lock.write())
    }

    /// Locks for changing if nobody holds the lock; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`read`](Self::read).
    #[track_caller]
    pub fn try_write(&self) -> Result<ArenaWriteGuard<'_>> {
        self.writing(self.lock.try_write())
    }

    /// Locks for changing, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`read`](Self::read).
    #[track_caller]
    pub fn write_timeout(&self, timeout: Duration) -> Result<ArenaWriteGuard<'_>> {
        self.writing(self.lock.write_timeout(timeout))
    }

    fn reading<'a>(&'a self, lock: ReadGuard<'a, u64>) -> ArenaReadGuard<'a> {
        // A thread that panicked in a change has taken it back.
        ArenaReadGuard { arena: self.arena.read().unwrap_or_else(PoisonError::into_inner), _lock: lock }
    }

    fn writing<'a>(
        &'a self,
        locked: Result<WriteGuard<'a, u64>, LockError<WriteGuard<'a, u64>>>,
    ) -> Result<ArenaWriteGuard<'a>> {
        let (lock, owner_died) = match locked {
            Ok(lock) => (lock, false),
            Err(LockError::OwnerDied(lock)) => (lock, true),
            Err(LockError::Failed(error)) => return Err(error),
        };
        let mut arena = self.arena.write().unwrap_or_else(PoisonError::into_inner);
        if owner_died {
            arena.recover()?;
            lock.mark_consistent();
        }
        Ok(ArenaWriteGuard { arena, _lock: lock })
    }
}

impl SharedArenaOptions {
    /// Lets the arena grow, when it is full, up to `max_len_bytes`; see [`ArenaOptions::growable`].
    #[must_use]
    pub fn growable(mut self, max_len_bytes: usize) -> Self {
        self.arena = self.arena.growable(max_len_bytes);
        self
    }

    /// Wishes for large pages; see [`ArenaOptions::huge_pages`].
    #[must_use]
    pub fn huge_pages(mut self, pages: crate::HugePages) -> Self {
        self.arena = self.arena.huge_pages(pages);
        self
    }

    /// How many words of existing memory one change may alter; see [`ArenaOptions::journal_entries`].
    #[must_use]
    pub fn journal_entries(mut self, entries: usize) -> Self {
        self.arena = self.arena.journal_entries(entries);
        self
    }

    /// Who goes first, readers or writers, and how many readers there are.
    #[must_use]
    pub fn lock(mut self, options: RwLockOptions) -> Self {
        self.lock = options;
        self
    }

    /// Makes an arena of `len_bytes`, at least 32 KiB, under a free name.
    ///
    /// # Errors
    /// * `AlreadyExists`: somebody uses the name.
    /// * `InvalidInput`: it is no [`Name`]; or as for [`ArenaOptions::create`] and [`RwLock::anonymous`].
    /// * `PermissionDenied`, `NotFound`: of the directory of names. `OutOfMemory`, `LimitReached`, `System`.
    pub fn create(&self, name: impl IntoName, len_bytes: usize) -> Result<SharedArena> {
        let name = name.into_name()?;
        SharedArena::over(Place::create(&name, self.plan(len_bytes)?)?, &name)
    }

    /// Opens the arena of that name, or makes one of `len_bytes`. What its creator chose holds.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`SharedArena::open`].
    pub fn open_or_create(&self, name: impl IntoName, len_bytes: usize) -> Result<SharedArena> {
        let name = name.into_name()?;
        SharedArena::over(Place::open_or_create(&name, self.plan(len_bytes)?)?, &name)
    }

    fn plan(&self, len_bytes: usize) -> Result<Plan<'_>> {
        let geometry = self.arena.geometry(len_bytes)?;
        let lock = self.lock.checked()?;
        let make = move |segment: &Segment| {
            let front = segment.with_front(table_bytes());
            RwLock::make(&front, 0_u64, lock)?;
            // That describes the segment anew, as an arena.
            establish(segment, geometry)?;
            front.declare(&RwLock::<u64>::facts(lock.reader_count()))
        };
        let front_bytes = lock_bytes(lock.reader_count());
        let memory = self.arena.segment.clone();
        Ok(Plan { form: form(), len_bytes, front_bytes, memory, make: Box::new(make) })
    }
}

fn form() -> Form {
    let text = format!("an arena under a reader-writer lock, format {FORMAT}");
    Form { kind: Kind::Arena, layout_hash: LAYOUT_HASH, text }
}

/// How many bytes the lock takes in front of the arena.
fn lock_bytes(readers: u32) -> usize {
    RwLock::<u64>::len_bytes(readers).next_multiple_of(64)
}

impl Deref for ArenaReadGuard<'_> {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        &self.arena
    }
}

impl Deref for ArenaWriteGuard<'_> {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        &self.arena
    }
}

impl ArenaWriteGuard<'_> {
    /// Changes the arena, whole or not at all; see [`Arena::change`].
    ///
    /// # Errors
    /// What `work` answers; `Corrupted` if a peer destroyed what the arena needs.
    pub fn change<R, E: From<Error>>(&mut self, work: impl FnOnce(&mut Change<'_>) -> Result<R, E>) -> Result<R, E> {
        self.arena.change(work)
    }
}

impl fmt::Debug for SharedArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArena").field("writer", &self.lock.writer()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ArenaReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.arena.fmt(f)
    }
}

impl fmt::Debug for ArenaWriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.arena.fmt(f)
    }
}
