//! What a reader-writer lock is held by: [`ReadGuard`] and [`WriteGuard`].

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::lock::RwLock;
use super::reading::Reading;
use super::writing::Writing;
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::raw::robust::Thread;
use crate::sync::error::{LockError, LockResult};

/// The value can be read as long as this lives, and nobody changes it. Not to be sent to another thread.
///
/// In a child made by `fork` an inherited guard is no guard: the parent's thread holds the lock, others may change the
/// value as soon as it lets go, and dropping it in the child does nothing. Do not use what it dereferences to there.
#[must_use = "the lock is given back when this is dropped"]
pub struct ReadGuard<'a, T: ShmSafe> {
    lock: &'a RwLock<T>,
    thread: Thread,
    held: Reading,
    not_send: PhantomData<*const ()>,
}

/// The value is ours alone as long as this lives. Not to be sent to another thread; for `fork` see [`ReadGuard`].
#[must_use = "the lock is given back when this is dropped"]
pub struct WriteGuard<'a, T: ShmSafe> {
    lock: &'a RwLock<T>,
    thread: Thread,
    held: Writing,
    /// Whether the value makes sense when this is dropped.
    whole: Cell<bool>,
    not_send: PhantomData<*const ()>,
}

impl<'a, T: ShmSafe> ReadGuard<'a, T> {
    /// Of what is held, if the value is one.
    #[inline]
    pub(super) fn over(lock: &'a RwLock<T>, thread: Thread, held: Reading) -> Result<Self> {
        let guard = Self { lock, thread, held, not_send: PhantomData };
        lock.data.check(false)?;
        Ok(guard)
    }
}

impl<'a, T: ShmSafe> WriteGuard<'a, T> {
    /// Of what is held, if the value is one.
    #[inline]
    pub(super) fn over(lock: &'a RwLock<T>, thread: Thread, held: Writing) -> LockResult<Self> {
        let guard = Self { lock, thread, held, whole: Cell::new(!held.owner_died), not_send: PhantomData };
        lock.data.check(held.owner_died)?;
        if held.owner_died { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }

    /// Whether the writer before died inside, and nobody has repaired since.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        !self.whole.get()
    }

    /// Says that the value is whole again. Who drops the guard of a dead writer without this gives the lock up:
    /// everyone who waits, and everyone who comes, is told `NotRecoverable`, for ever.
    pub fn mark_consistent(&self) {
        self.whole.set(true);
    }
}

impl<T: ShmSafe> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the thread is another one, and holds nothing.
        if self.thread.is_current() {
            self.lock.words.unlock_read(self.thread, self.held);
        }
        self.lock.given_back();
    }
}

impl<T: ShmSafe> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.thread.is_current() {
            self.lock.words.unlock_write(self.thread, self.held, self.whole.get());
        }
        self.lock.given_back();
    }
}

impl<T: ShmSafe> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for reading, so nobody has a unique reference; the bytes were checked when the guard
        // was made.
        unsafe { self.lock.data.get() }
    }
}

impl<T: ShmSafe> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for writing, by this guard alone; the bytes were checked when it was made.
        unsafe { self.lock.data.get() }
    }
}

impl<T: ShmSafe> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { self.lock.data.get_mut() }
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
