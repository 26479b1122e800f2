//! What a subscriber has of one publisher: the reading end of its log, and the way into its pool.

use std::any::Any;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::structure::items::{Grip, Held, HeldItems, Holder, Inline};
use crate::structure::log::{INLINE_MAX_BYTES, Length, Reader};
use crate::structure::pool::Descriptor;

const RECEIVE: &str = "receive";

/// Where the values of a message are.
pub(crate) enum Found<T> {
    /// There is no message.
    Nothing,
    /// Copied out of the slot, to where the caller wanted them.
    Inline,
    /// In the publisher's pool, held there.
    Held(HeldItems<T>),
    /// Copied out of the pool of a publisher that is not trusted.
    Copied(Box<[T]>),
}

/// The subscriber's end of one log. One thread at a time.
pub(crate) struct Inlet {
    reader: Reader,
    /// `None` if the log has no pool.
    holder: Option<Arc<Holder>>,
    /// For the payload that is held next: to count references is to wait for all stores before.
    handle: Option<Arc<Holder>>,
}

/// What there was to take at once.
pub(crate) enum AtOnce<T> {
    /// Nothing, or nothing so simple: [`Inlet::try_receive`] tells.
    No,
    /// Copied out of the slot, to where the caller wanted it.
    Inline,
    /// In the publisher's pool, held there.
    Held(HeldItems<T>),
}

impl Inlet {
    pub(crate) fn new(reader: Reader, holder: Option<Arc<Holder>>) -> Self {
        Self { reader, holder, handle: None }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// `line` lasts from now on at least as long as whatever is held of this log.
    pub(crate) fn keep(&self, line: Arc<dyn Any + Send + Sync>) {
        if let Some(holder) = &self.holder {
            // Said once: the first line is the one.
            let _ = holder.line.set(line);
        }
    }

    /// The next message; with `count` given, one of exactly so many values. Small ones are copied into `inline`. With
    /// `tell` off, the publisher is not told until [`tell`](Self::tell).
    ///
    /// # Errors
    /// `Lagged`; `LimitReached` if too many are held; `Corrupted`.
    #[inline(always)]
    pub(crate) fn try_receive<T: ShmSafe>(
        &mut self,
        inline: &mut Inline<T>,
        count: Option<usize>,
        tell: bool,
    ) -> Result<Found<T>> {
        if !self.reader.is_ready() {
            return Ok(Found::Nothing);
        }
        // Of a pooled message that is given up the next one is tried; there are at most as many as slots, unless the
        // publisher goes on meanwhile, and then it wakes us again.
        for _ in 0..self.reader.geometry().slots {
            if let Some(found) = self.take_one(inline, count, tell)? {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    /// `None` if the message was given up while it was being taken.
    #[inline(always)]
    fn take_one<T: ShmSafe>(
        &mut self,
        inline: &mut Inline<T>,
        count: Option<usize>,
        tell: bool,
    ) -> Result<Option<Found<T>>> {
        // Known when this is compiled for values of one size, and then so is the length of every copy.
        let room = inline_room::<T>(count).map_or(INLINE_MAX_BYTES, |room| room.max(Descriptor::BYTES));
        let length = if count.is_some() { Length::Room } else { Length::Message };
        let Some(tag) = self.reader.peek(inline.room(room), length)? else { return Ok(Some(Found::Nothing)) };
        let Some(len_bytes) = tag.inline_len() else { return self.receive_pooled(inline.room(room), count, tell) };
        let filled = inline.fill(RECEIVE, len_bytes);
        self.reader.advance(tell);
        filled?;
        match count {
            Some(count) if inline.items().len() != count => Err(wrong_count()),
            _ => Ok(Some(Found::Inline)),
        }
    }

    /// Whether there is something to receive: a message, or an error.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.reader.is_ready()
    }

    /// The next message, if it is there, as [`try_receive`](Self::try_receive) answers it, but nothing that takes long or
    /// has to be explained.
    #[inline(always)]
    pub(crate) fn try_receive_at_once<T: ShmSafe>(
        &mut self,
        inline: &mut Inline<T>,
        count: Option<usize>,
    ) -> AtOnce<T> {
        if !self.reader.is_ready() {
            return AtOnce::No;
        }
        // Known when this is compiled for values of one size. In pieces of sixteen bytes, as it is moved afterwards; a slot
        // has room for whole ones.
        let pieces = match count {
            Some(_) => inline_room::<T>(count).unwrap_or(0).next_multiple_of(16).max(Descriptor::BYTES),
            None => INLINE_MAX_BYTES,
        };
        let length = if count.is_some() { Length::Room } else { Length::Message };
        let Ok(Some(tag)) = self.reader.peek(inline.room(pieces), length) else { return AtOnce::No };
        let Some(len_bytes) = tag.inline_len() else {
            let Some(grip) = self.grasp(inline.room(Descriptor::BYTES)) else { return AtOnce::No };
            return self.take_held(grip, count).map_or(AtOnce::No, AtOnce::Held);
        };
        let is_whole = inline_room::<T>(count).is_none_or(|room| room == len_bytes)
            && inline.fill(RECEIVE, len_bytes).is_ok()
            && count.is_none_or(|count| inline.items().len() == count);
        if is_whole {
            self.reader.advance(true);
            return AtOnce::Inline;
        }
        AtOnce::No
    }

    /// Holds the payload of the descriptor that was peeked, if its publisher is trusted.
    #[inline(never)]
    fn grasp(&mut self, slot: &[u8]) -> Option<Grip> {
        let holder = self.holder.as_ref().filter(|holder| holder.is_trusted)?;
        let descriptor = Descriptor::claimed(slot, self.reader.geometry()).ok()?;
        holder.buckets.prefetch(descriptor.bucket, descriptor.len_bytes);
        // If it was lost meanwhile, the next one is looked for; errors come again.
        let hazard = self.reader.hold().ok()??;
        Some(Grip::new(descriptor, hazard))
    }

    /// Takes what is held; gives it back if it is no such value, as is found out again by who explains it.
    #[inline(always)]
    fn take_held<T: ShmSafe>(&mut self, grip: Grip, count: Option<usize>) -> Option<HeldItems<T>> {
        let handle = self.handle.take().or_else(|| self.holder.clone())?;
        let items = Held::new(handle, grip).into_items::<T>(RECEIVE).ok()?;
        if count.is_some_and(|count| items.items().len() != count) {
            return None;
        }
        self.reader.advance(false);
        // Buckets are few: told at once.
        self.reader.tell();
        Some(items)
    }

    /// To be called before the caller waits.
    #[inline(always)]
    pub(crate) fn pause(&mut self) {
        self.reader.pause();
        if self.handle.is_none() {
            self.handle.clone_from(&self.holder);
        }
    }

    /// The publisher does not wait for us any more, so what is read may be overwritten.
    pub(crate) fn distrust(&mut self) {
        self.reader.distrust();
    }

    /// Tells the publisher what was taken without telling.
    #[inline(always)]
    pub(crate) fn tell(&mut self) {
        self.reader.tell();
    }

    fn receive_pooled<T: ShmSafe>(
        &mut self,
        slot: &mut [u8],
        count: Option<usize>,
        tell: bool,
    ) -> Result<Option<Found<T>>> {
        let Some(held) = self.hold(slot)? else { return Ok(None) };
        self.reader.advance(false);
        if tell {
            // Buckets are few: told at once.
            self.reader.tell();
        }
        let (found, len) = if held.is_trusted() {
            let items = held.into_items(RECEIVE)?;
            let len = items.items().len();
            (Found::Held(items), len)
        } else {
            let items = held.copy(RECEIVE)?;
            let len = items.len();
            (Found::Copied(items), len)
        };
        match count {
            Some(count) if len != count => Err(wrong_count()),
            _ => Ok(Some(found)),
        }
    }

    fn hold(&mut self, slot: &[u8]) -> Result<Option<Held>> {
        let descriptor = Descriptor::claimed(slot, self.reader.geometry())?;
        let Some(holder) = &self.holder else {
            return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("a payload is in a pool that there is not"));
        };
        holder.buckets.prefetch(descriptor.bucket, descriptor.len_bytes);
        let hazard = self.reader.hold()?;
        Ok(hazard.map(|hazard| Held::new(Arc::clone(holder), Grip::new(descriptor, hazard))))
    }
}

/// The bytes of `count` values, if they can lie in a slot.
#[inline(always)]
const fn inline_room<T: ShmSafe>(count: Option<usize>) -> Option<usize> {
    match count {
        Some(count) if Inline::<T>::FITS && count * size_of::<T>() <= INLINE_MAX_BYTES => Some(count * size_of::<T>()),
        _ => None,
    }
}

fn wrong_count() -> Error {
    Error::new(RECEIVE, ErrorKind::Corrupted).because("a message has another length than its type")
}
