//! A slot that a producer writes into.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Inner;
use crate::error::Result;
use crate::structure::held::Held;
use crate::structure::work::Claimed;

/// A slot of a queue of bytes, to be written where it lies and then [committed](Self::commit).
///
/// Its bytes are at first those of an earlier item: write all of them. Dropping it gives the slot back; if the process
/// dies, the slot is skipped.
#[must_use = "dropping it sends nothing"]
pub struct Reservation {
    inner: Arc<Inner>,
    /// `None` once it is ended.
    claimed: Option<Claimed>,
    len: usize,
    held: Held,
}

impl Reservation {
    pub(super) fn new(inner: Arc<Inner>, claimed: Claimed, len: usize) -> Self {
        let offset = claimed.item_offset(inner.queue.geometry());
        let held = Held::to_write(inner.cells(), offset, len, inner.trust);
        Self { inner, claimed: Some(claimed), len, held }
    }

    /// Only the first `len` bytes will be sent; more than there are changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.held.truncate(len);
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

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.held.as_bytes()
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.held.as_bytes_mut()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take()
            && self.inner.membership.check().is_ok()
        {
            // Nobody to tell: nothing was sent.
            let _ = self.inner.end(|queue| queue.abandon(claimed));
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}
