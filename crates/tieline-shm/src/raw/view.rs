//! A typed view of shared memory that keeps the memory mapped.

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use tieline_os::mapping::Mapping;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Types made of atomics only, so that a shared reference to one stays valid while anyone writes to the memory.
///
/// # Safety
/// The type is `repr(C)` (or `repr(transparent)`), consists of atomics and of arrays and structs of such, has no
/// padding that is ever read, needs no drop, and every bit pattern is a value of it.
pub(crate) unsafe trait Words {}

// SAFETY: an atomic integer; every bit pattern is a value.
unsafe impl Words for AtomicU8 {}
// SAFETY: as above.
unsafe impl Words for AtomicU32 {}
// SAFETY: as above.
unsafe impl Words for AtomicU64 {}
// SAFETY: an array of such has no padding of its own.
unsafe impl<T: Words, const N: usize> Words for [T; N] {}

/// A `T`, or several, inside a mapping that lives at least as long.
///
/// A view of memory mapped read-only must only be loaded from: a store raises `SIGSEGV`.
pub(crate) struct View<T: ?Sized> {
    start: NonNull<T>,
    /// Nothing but the reason why `start` is valid; `None` where the memory is a leaked box (models and tests).
    memory: Option<Owner>,
}

/// What keeps the memory of a view.
#[derive(Clone)]
enum Owner {
    Mapping(#[cfg_attr(not(model), expect(dead_code, reason = "kept"))] Arc<Mapping>),
    Private(
        #[cfg_attr(not(model), expect(dead_code, reason = "kept"))] Arc<dyn Send + Sync + UnwindSafe + RefUnwindSafe>,
    ),
}

// SAFETY: a view is a shared reference with an owner; the atomics behind it may be used from any thread, and so may the
// owner be dropped by any (`Owner` is Send and Sync by itself).
unsafe impl<T: ?Sized + Sync> Send for View<T> {}
// SAFETY: as for Send.
unsafe impl<T: ?Sized + Sync> Sync for View<T> {}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Owner>();
};

impl<T: Words> View<T> {
    /// The `T` at `offset` bytes into the mapping.
    ///
    /// # Errors
    /// `Corrupted` if it would not lie within the mapping, or not be aligned.
    pub(crate) fn of(memory: &Arc<Mapping>, offset: usize) -> Result<Self> {
        let start = locate::<T>(memory, offset, 1)?;
        Ok(Self { start, memory: Some(Owner::Mapping(Arc::clone(memory))) })
    }
}

impl<T: Words> View<[T]> {
    /// `count` of `T` from `offset` bytes into the mapping.
    ///
    /// # Errors
    /// As [`View::of`].
    pub(crate) fn slice(memory: &Arc<Mapping>, offset: usize, count: usize) -> Result<Self> {
        let start = locate::<T>(memory, offset, count)?;
        let memory = Some(Owner::Mapping(Arc::clone(memory)));
        Ok(Self { start: NonNull::slice_from_raw_parts(start, count), memory })
    }
}

#[cfg(not(model))]
impl<T: Words + Send + Sync + UnwindSafe + RefUnwindSafe + 'static> View<T> {
    /// Of memory of this process alone, for what usually lies in shared memory.
    pub(crate) fn private(value: T) -> Self {
        let value = Arc::new(value);
        Self { start: NonNull::from(&*value), memory: Some(Owner::Private(value)) }
    }
}

impl<T: ?Sized> View<T> {
    /// A view of a part of this one.
    pub(crate) fn part<P: ?Sized>(&self, part: impl for<'whole> FnOnce(&'whole T) -> &'whole P) -> View<P> {
        View { start: NonNull::from(part(self)), memory: self.memory.clone() }
    }
}

#[cfg(any(test, model))]
impl<T: ?Sized> View<T> {
    /// A view of ordinary memory that is never freed, for models and tests.
    pub(crate) fn leak(value: Box<T>) -> Self {
        Self { start: NonNull::from(Box::leak(value)), memory: None }
    }
}

fn locate<T>(memory: &Arc<Mapping>, offset: usize, count: usize) -> Result<NonNull<T>> {
    const VIEW: &str = "view shared memory";
    let outside = || Error::new(VIEW, ErrorKind::Corrupted).because("it does not lie within the segment");
    let len = size_of::<T>().checked_mul(count).ok_or_else(outside)?;
    if memory.len().checked_sub(offset).is_none_or(|rest| rest < len) {
        return Err(outside());
    }
    // SAFETY: offset <= the length of the mapping, so the result lies inside it or one past its end.
    let start = unsafe { memory.as_ptr().add(offset) }.cast_mut().cast::<T>();
    if !start.is_aligned() {
        return Err(Error::new(VIEW, ErrorKind::Corrupted).because("it is not aligned"));
    }
    NonNull::new(start).ok_or_else(outside)
}

impl<T: ?Sized> Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `start` was checked to lie, aligned, within a mapping that `memory` keeps alive and that is only
        // changed with exclusive access to it, which the Arc forbids; T is made of atomics (`Words`), so writes by
        // others are no data race. Private memory is kept by its Arc in the same way; a leaked box lives for ever.
        unsafe { self.start.as_ref() }
    }
}

impl<T: ?Sized> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { start: self.start, memory: self.memory.clone() }
    }
}

impl<T: ?Sized> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("start", &self.start).finish_non_exhaustive()
    }
}
