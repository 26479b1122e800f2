//! What a subscriber has of one publisher: the reading end of its log, and the way into its pool.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::queue::items::{Held, HeldItems, Holder, Inline};
use crate::queue::log::{INLINE_MAX_BYTES, Reader};
use crate::queue::pool::Descriptor;

const RECEIVE: &str = "receive";

/// One message, as values.
pub(crate) enum Message<T> {
    /// Copied out of its slot.
    Inline(Inline<T>),
    /// In the publisher's pool, held there.
    Held(HeldItems<T>),
    /// Copied out of the pool of a publisher that is not trusted.
    Copied(Box<[T]>),
}

impl<T: ShmSafe> Message<T> {
    #[inline(always)]
    pub(crate) fn items(&self) -> &[T] {
        match self {
            Self::Inline(inline) => inline.items(),
            Self::Held(held) => held.items(),
            Self::Copied(copy) => copy,
        }
    }
}

/// The subscriber's end of one log. One thread at a time.
pub(crate) struct Inlet {
    reader: Reader,
    /// `None` if the log has no pool.
    holder: Option<Arc<Holder>>,
}

impl Inlet {
    pub(crate) fn new(reader: Reader, holder: Option<Arc<Holder>>) -> Self {
        Self { reader, holder }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next message; with `count` given, one of exactly so many values. With `tell` off, the publisher is not
    /// told until [`tell`](Self::tell).
    ///
    /// # Errors
    /// `Lagged`; `LimitReached` if too many are held; `Corrupted`.
    #[inline(always)]
    pub(crate) fn try_receive<T: ShmSafe>(&mut self, count: Option<usize>, tell: bool) -> Result<Option<Message<T>>> {
        // Known when this is compiled for values of one size, and then so is the length of every copy.
        let room = match count {
            Some(count) if Inline::<T>::FITS && count * size_of::<T>() <= INLINE_MAX_BYTES => {
                (count * size_of::<T>()).max(if self.holder.is_some() { Descriptor::BYTES } else { 0 })
            }
            _ => INLINE_MAX_BYTES,
        };
        let mut inline = Inline::with_room(room);
        let Some(tag) = self.reader.peek(inline.room())? else { return Ok(None) };
        let Some(len_bytes) = tag.inline_len() else { return self.receive_pooled(inline.room(), count, tell) };
        let filled = inline.fill(RECEIVE, len_bytes);
        self.reader.advance(tell);
        filled?;
        match count {
            Some(count) if inline.items().len() != count => Err(wrong_count()),
            _ => Ok(Some(Message::Inline(inline))),
        }
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
    ) -> Result<Option<Message<T>>> {
        let Some(held) = self.hold(slot)? else {
            // Given up while we looked, and counted as lost; the caller looks again.
            return Ok(None);
        };
        self.reader.advance(tell);
        let message = if held.is_trusted() {
            Message::Held(held.into_items(RECEIVE)?)
        } else {
            Message::Copied(held.copy(RECEIVE)?)
        };
        match count {
            Some(count) if message.items().len() != count => Err(wrong_count()),
            _ => Ok(Some(message)),
        }
    }

    fn hold(&mut self, slot: &[u8]) -> Result<Option<Held>> {
        let descriptor = Descriptor::claimed(slot, self.reader.geometry())?;
        let Some(holder) = &self.holder else {
            return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("a payload is in a pool that there is not"));
        };
        let hazard = self.reader.hold()?;
        Ok(hazard.map(|hazard| Held::new(holder, hazard, descriptor.bucket, descriptor.len_bytes)))
    }
}

fn wrong_count() -> Error {
    Error::new(RECEIVE, ErrorKind::Corrupted).because("a message has another length than its type")
}
