//! What a publisher has: the writing end of its log, and the pool for what does not fit in a slot.
//!
//! The invariant: a bucket of the pool is reused only when its message has been passed or given up by every subscriber
//! and no hazard names it ([`log`](super::log) tells, [`pool`](super::pool) keeps the books).

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::structure::items::Loaned;
use crate::structure::log::{Room, Survey, Tag, Writer};
use crate::structure::pool::{Bucket, Buckets, Descriptor, Pool};
use crate::wait::{EventCount, Until, Waiting};

const PUBLISH: &str = "publish";
const LOAN: &str = "loan";

/// So many buckets get memory before anyone looks which are free again: each look takes away the lines in which the
/// subscribers write what they hold, just when they are about to. More would be colder in the cache.
const HOT_BUCKETS: usize = 4;
/// Of buckets from this size on, two: what four of them take is in no cache any more, and costs more than looking does.
const LARGE_BYTES: usize = 512 * 1024;

/// Finds memory for a range of the pool's bytes.
pub(crate) type Back = Box<dyn Fn(Range<usize>) -> Result<()> + Send>;

/// The publisher's end. One thread at a time.
pub(crate) struct Outlet {
    writer: Writer,
    lending: Option<Lending>,
}

struct Lending {
    pool: Pool,
    buckets: Arc<Buckets>,
    /// For loans to come: to count references is to wait for all stores before.
    handles: Vec<Arc<Buckets>>,
    back: Back,
    bucket_bytes: usize,
    loans_max: usize,
}

impl Outlet {
    /// `buckets`, if the log's geometry has any; each gets memory for what is lent in it by `back`, before it is lent.
    pub(crate) fn new(writer: Writer, buckets: Option<(Buckets, Back)>, loans_max: usize) -> Self {
        let pool = Pool::new(writer.geometry());
        let bucket_bytes = writer.geometry().bucket_bytes;
        let handles = Vec::new();
        let lending = buckets.map(|(buckets, back)| Lending {
            pool,
            buckets: Arc::new(buckets),
            handles,
            back,
            bucket_bytes,
            loans_max,
        });
        Self { writer, lending }
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Publishes a copy of `payload`.
    ///
    /// # Errors
    /// `WouldBlock`, `TimedOut` if a subscriber that is waited for has not read far enough; those of
    /// [`loan`](Self::loan) if it does not fit in a slot.
    #[inline(always)]
    pub(crate) fn publish(&mut self, payload: &[u8], how: Waiting, until: Until) -> Result<()> {
        if payload.len() > self.writer.geometry().inline_bytes() {
            return self.publish_pooled(payload, how, until);
        }
        while self.writer.try_publish(Tag::inline(payload.len()), payload) == Room::None {
            self.writer.wait_for_room(how, until)?;
        }
        Ok(())
    }

    /// Publishes copies of as many payloads as fit at once, at least one; all must be at most as long as fits in a
    /// slot. Answers how many.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    #[inline(always)]
    pub(crate) fn publish_some<'a>(
        &mut self,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        how: Waiting,
        until: Until,
    ) -> Result<usize> {
        loop {
            let messages = payloads.clone().map(|payload| (Tag::inline(payload.len()), payload));
            let count = self.writer.try_publish_all(messages);
            if count > 0 || payloads.len() == 0 {
                return Ok(count);
            }
            self.writer.wait_for_room(how, until)?;
        }
    }

    #[cold]
    fn publish_pooled(&mut self, payload: &[u8], how: Waiting, until: Until) -> Result<()> {
        let mut loaned = self.loan(payload.len(), how, until)?;
        loaned.fill(payload);
        self.send(loaned, how, until).map_err(|(error, loaned)| {
            self.give_back(loaned);
            error
        })
    }

    /// A bucket to write `len_bytes` into.
    ///
    /// # Errors
    /// `TooLarge`; `LimitReached` if too many are lent already; `OutOfMemory`; `Full` at once, or `TimedOut`, if
    /// subscribers hold, or have yet to read, all there are.
    #[inline(always)]
    pub(crate) fn loan(&mut self, len_bytes: usize, how: Waiting, until: Until) -> Result<Loaned> {
        match self.lending.as_mut().and_then(|lending| lending.lend(len_bytes)) {
            Some(loaned) => Ok(loaned),
            None => self.loan_slowly(len_bytes, how, until),
        }
    }

    #[cold]
    fn loan_slowly(&mut self, len_bytes: usize, how: Waiting, until: Until) -> Result<Loaned> {
        let bucket_bytes = self.writer.geometry().bucket_bytes;
        let Some(lending) = self.lending.as_mut().filter(|_| len_bytes <= bucket_bytes) else {
            return Err(Error::new(LOAN, ErrorKind::TooLarge)
                .because(format!("{len_bytes} bytes are more than the maximum of {bucket_bytes}")));
        };
        if lending.pool.loaned() >= lending.loans_max {
            return Err(Error::new(LOAN, ErrorKind::LimitReached).because(format!(
                "{} loans are out; send or drop one, or make the publisher with more",
                lending.loans_max
            )));
        }
        loop {
            if let Some(bucket) = lending.pool.take() {
                if let Err(error) = lending.pool.back(bucket, len_bytes, &lending.back) {
                    lending.pool.give_back(bucket);
                    return Err(error);
                }
                return Ok(lending.loaned(bucket, len_bytes));
            }
            if !lending.find(&mut self.writer, len_bytes)? {
                lending.wait(&mut self.writer, len_bytes, how, until)?;
            }
        }
    }

    /// Whether a bucket can be lent, and sent, without waiting. Errors are for those who try.
    ///
    /// # Errors
    /// `OutOfMemory`.
    #[cfg(all(feature = "tokio", not(model)))]
    pub(crate) fn has_room_to_lend(&mut self) -> Result<bool> {
        let Some(lending) = &mut self.lending else { return Ok(true) };
        Ok(self.writer.has_room() && (lending.pool.has_free() || lending.find(&mut self.writer, 0)?))
    }

    /// Publishes what was written into a bucket. Does not copy.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); the bucket comes back.
    #[allow(clippy::result_large_err, reason = "the bucket must come back")]
    pub(crate) fn send(&mut self, loaned: Loaned, how: Waiting, until: Until) -> Result<(), (Error, Loaned)> {
        let Some(lending) = &mut self.lending else {
            return Err((Error::new(PUBLISH, ErrorKind::InvalidInput), loaned));
        };
        while !self.writer.has_room() {
            if let Err(error) = self.writer.wait_for_room(how, until) {
                return Err((error, loaned));
            }
        }
        let number = self.writer.next();
        let slots = self.writer.geometry().slots as u64;
        if lending.pool.oldest().is_some_and(|oldest| oldest + slots <= number) {
            // Its slot is overwritten now. There is room, so all that are waited for have passed it.
            let survey = self.writer.give_up(number - slots + 1);
            lending.pool.reclaim(number - slots + 1, &survey);
        }
        crate::raw::step("pool:filled");
        let descriptor = Descriptor { bucket: loaned.bucket(), len_bytes: loaned.len_bytes() };
        self.writer.publish(Tag::POOLED, &descriptor.to_bytes());
        lending.pool.published(number, loaned.bucket());
        lending.handles.push(loaned.into_buckets());
        // Now, while nobody waits for the next message.
        if !lending.pool.has_free() && lending.pool.backed() >= lending.hot_buckets() {
            lending.look(&mut self.writer);
        }
        if let Some(next) = lending.pool.next_free() {
            lending.buckets.prepare(next, descriptor.len_bytes);
        }
        Ok(())
    }

    /// Takes back a bucket that was not sent.
    pub(crate) fn give_back(&mut self, loaned: Loaned) {
        if let Some(lending) = &mut self.lending {
            lending.pool.give_back(loaned.bucket());
            lending.handles.push(loaned.into_buckets());
        }
    }

    /// How many buckets have memory, and how many of them subscribers hold although nobody has to read them any more.
    pub(crate) fn buckets(&self) -> (usize, usize) {
        self.lending.as_ref().map_or((0, 0), |lending| (lending.pool.backed(), lending.pool.held()))
    }
}

impl Lending {
    fn hot_buckets(&self) -> usize {
        if self.bucket_bytes < LARGE_BYTES { HOT_BUCKETS } else { HOT_BUCKETS / 2 }
    }

    /// A bucket that is free and has memory enough, if there is one and may be lent.
    #[inline(always)]
    fn lend(&mut self, len_bytes: usize) -> Option<Loaned> {
        if self.pool.loaned() >= self.loans_max {
            return None;
        }
        // No message is longer than a bucket, which has no more memory than that.
        let bucket = self.pool.take_backed(len_bytes)?;
        Some(self.loaned(bucket, len_bytes))
    }

    #[inline(always)]
    fn loaned(&mut self, bucket: Bucket, len_bytes: usize) -> Loaned {
        let buckets = self.handles.pop().unwrap_or_else(|| Arc::clone(&self.buckets));
        Loaned::new(buckets, bucket, len_bytes)
    }

    /// Frees what everybody has passed.
    fn look(&mut self, writer: &mut Writer) -> Survey {
        let survey = writer.survey();
        let history = writer.next().saturating_sub(writer.geometry().history as u64);
        self.pool.reclaim(survey.passed.min(history), &survey);
        survey
    }

    /// Tries to make a bucket free: one that all have passed, a new one, or the oldest that nobody is waited for.
    fn find(&mut self, writer: &mut Writer, len_bytes: usize) -> Result<bool> {
        if self.pool.backed() < self.hot_buckets() && self.pool.grow(len_bytes, &self.back).is_ok_and(|grown| grown) {
            return Ok(true);
        }
        let survey = self.look(writer);
        if self.pool.has_free() || self.pool.grow(len_bytes, &self.back)? {
            return Ok(true);
        }
        while let Some(oldest) = self.pool.oldest().filter(|oldest| *oldest < survey.gate) {
            let survey = writer.give_up(oldest + 1);
            // Who joined since the first look, before it could see that this one is given up, was promised it.
            if oldest >= survey.gate {
                return Ok(false);
            }
            self.pool.reclaim(oldest + 1, &survey);
            if self.pool.has_free() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[cold]
    fn wait(&mut self, writer: &mut Writer, len_bytes: usize, how: Waiting, until: Until) -> Result<()> {
        let full = || {
            Error::new(LOAN, ErrorKind::Full).because(
                "subscribers hold, or have yet to read, every bucket; have them drop samples, or make the publisher with more buckets",
            )
        };
        let rooms = rooms(writer);
        if matches!(until, Until::Now) || rooms.is_empty() {
            return Err(full());
        }
        EventCount::wait_any(&rooms, how, until, LOAN, || match self.find(writer, len_bytes) {
            Ok(found) => {
                let addresses =
                    |rooms: &[View<EventCount>]| rooms.iter().map(|room| room.address()).collect::<Vec<_>>();
                let mut changed = || addresses(&self::rooms(writer)) != addresses(&rooms);
                (found || changed()).then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        })?
    }
}

/// Where subscribers tell that they hold less.
fn rooms(writer: &mut Writer) -> Vec<View<EventCount>> {
    writer.rosters().iter().map(|roster| roster.room().clone()).collect()
}
