//! A slot that a producer writes into.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Inner;
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::structure::held::Held;
use crate::structure::work::Claimed;

/// A slot of a queue of slices or bytes, to be written where it lies and then [committed](Self::commit).
///
/// It dereferences to the values, which at first are any, such as those of an earlier item: write all of them. Dropping
/// it gives the slot back; if the process dies, the slot is skipped.
#[must_use = "dropping it sends nothing"]
pub struct Reservation<T: ShmSafe> {
    inner: Arc<Inner>,
    /// `None` once it is ended.
    claimed: Option<Claimed>,
    len: usize,
    held: Held,
    of: PhantomData<T>,
}

impl<T: ShmSafe> Reservation<T> {
    pub(super) fn new(inner: Arc<Inner>, claimed: Claimed, len: usize) -> Result<Self> {
        let offset = claimed.item_offset(inner.queue.geometry());
        let held = Held::to_write(inner.cells(), offset, len, inner.trust);
        let mut reservation = Self { inner, claimed: Some(claimed), len, held, of: PhantomData };
        reservation.held.prepare::<T>(super::SEND)?;
        Ok(reservation)
    }

    /// Only the first `count` values will be sent; more than there are changes nothing.
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count.saturating_mul(size_of::<T>()));
        self.held.truncate(self.len);
    }

    /// Sends the item.
    ///
    /// # Errors
    /// `OwnerDied` if the others took this process for dead: nothing was sent. `Corrupted`; `Forked`.
    pub fn commit(mut self) -> Result<()> {
        self.inner.membership.check()?;
        let Some(claimed) = self.claimed.take() else { return Ok(()) };
        self.held.store();
        // Fits: no item has more bytes than the geometry's 2^30.
        self.inner.queue.commit(claimed, self.len as u32)?;
        self.inner.queue.item_added();
        Ok(())
    }
}

impl<T: ShmSafe> Deref for Reservation<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.held.items()
    }
}

impl<T: ShmSafe> DerefMut for Reservation<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.held.items_mut()
    }
}

impl<T: ShmSafe> Drop for Reservation<T> {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take()
            && self.inner.membership.check().is_ok()
        {
            // Nobody to tell: nothing was sent.
            let _ = self.inner.end(|queue| queue.abandon(claimed));
        }
    }
}

impl<T: ShmSafe> fmt::Debug for Reservation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}
