//! The payloads that are too large for a slot: equal buckets in the publisher's log segment.
//!
//! Everything about a bucket but its bytes is the publisher's private knowledge, so no peer can corrupt it, and none
//! that dies can leak one. The invariant: a bucket is in exactly one place: not yet backed by memory, free, with the
//! publisher's user, published, or held (given up by the log but named by a hazard when last looked at).
//!
//! Free buckets are reused last in, first out: the bytes that were touched last are still in the cache.

use std::collections::VecDeque;
use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::raw::atomic::AtomicU64;
use crate::structure::log::{Geometry, Survey, prefetch, prefetch_to_write};

const LINE_WORDS: usize = 8;
/// A bucket gets so much memory at least: messages that are a little larger than those before them cost no system call.
const BACKED_MIN_BYTES: usize = 64 * 1024;
/// So much at the start of a message is asked for ahead: a kibibyte, as many lines as a processor fetches at a time. What
/// follows it fetches by itself, once it sees that it is read or written in order.
const EDGE_WORDS: usize = 128;

/// The number of a bucket of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bucket(u32);

/// What a slot holds of a payload in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) bucket: Bucket,
    pub(crate) len_bytes: usize,
}

impl Descriptor {
    /// Bytes in the slot.
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&u64::from(self.bucket.0).to_ne_bytes());
        bytes[8..].copy_from_slice(&(self.len_bytes as u64).to_ne_bytes());
        bytes
    }

    /// What a publisher claims, if a pool of this geometry can have it.
    ///
    /// # Errors
    /// `Corrupted`.
    pub(crate) fn claimed(bytes: &[u8], geometry: &Geometry) -> Result<Self> {
        let impossible = || Error::new("receive", ErrorKind::Corrupted).because("a payload lies outside its pool");
        let word = |start: usize| {
            let word = bytes.get(start..start + 8).and_then(|word| word.try_into().ok());
            word.map(u64::from_ne_bytes).ok_or_else(impossible)
        };
        let bucket = u32::try_from(word(0)?).map_err(|_| impossible())?;
        let len_bytes = usize::try_from(word(8)?).map_err(|_| impossible())?;
        if bucket as usize >= geometry.buckets || len_bytes > geometry.bucket_bytes {
            return Err(impossible());
        }
        Ok(Self { bucket: Bucket(bucket), len_bytes })
    }
}

/// The bytes of all buckets, as either side maps them.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    words: View<[AtomicU64]>,
    bucket_words: usize,
}

impl Buckets {
    /// `words` must be as many as the geometry says.
    pub(crate) fn new(words: View<[AtomicU64]>, geometry: &Geometry) -> Self {
        assert_eq!(words.len() * 8, geometry.pool_bytes(), "the view was made for another geometry");
        Self { words, bucket_words: geometry.bucket_bytes / 8 }
    }

    /// Where a bucket's bytes begin: valid for `bucket_bytes` as long as this or a clone of it lives, aligned to a
    /// page. Writing through it needs a mapping that may be written; reading and writing need the right that the
    /// pool's invariant gives: to write, be the publisher's user of the bucket; to read, hold it or be gated.
    pub(crate) fn start(&self, bucket: Bucket) -> NonNull<u8> {
        let start = bucket.0 as usize * self.bucket_words;
        NonNull::from(&self.words[start..start + self.bucket_words]).cast()
    }

    /// Asks for the lines in which so long a message in the bucket begins and ends, ahead of writing them.
    #[inline(always)]
    pub(crate) fn prepare(&self, bucket: Bucket, len_bytes: usize) {
        self.edges(bucket, len_bytes, prefetch_to_write);
    }

    /// The same ahead of reading them.
    #[inline(always)]
    pub(crate) fn prefetch(&self, bucket: Bucket, len_bytes: usize) {
        self.edges(bucket, len_bytes, prefetch);
    }

    #[inline(always)]
    fn edges(&self, bucket: Bucket, len_bytes: usize, ask: impl Fn(&AtomicU64)) {
        let words = &self.words(bucket)[..len_bytes.div_ceil(8).min(self.bucket_words)];
        let (first, rest) = words.split_at(words.len().min(EDGE_WORDS));
        first.iter().step_by(LINE_WORDS).for_each(&ask);
        if let Some(last) = rest.last() {
            ask(last);
        }
    }

    /// The words of a bucket, for copies that do not trust the publisher.
    pub(crate) fn words(&self, bucket: Bucket) -> &[AtomicU64] {
        let start = bucket.0 as usize * self.bucket_words;
        &self.words[start..start + self.bucket_words]
    }
}

/// Which bucket is where.
#[derive(Debug)]
pub(crate) struct Pool {
    geometry: Geometry,
    /// How many bytes of a bucket have memory, from its start: of the first so many buckets.
    backed_bytes: Vec<usize>,
    free: Vec<Bucket>,
    /// With the publisher's user.
    loaned: usize,
    /// In order of their numbers.
    published: VecDeque<(u64, Bucket)>,
    held: Vec<(u64, Bucket)>,
}

impl Pool {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        Self {
            geometry: *geometry,
            backed_bytes: Vec::new(),
            free: Vec::new(),
            loaned: 0,
            published: VecDeque::new(),
            held: Vec::new(),
        }
    }

    /// A free bucket that has memory for a message of `len_bytes`, now with the publisher's user.
    #[inline(always)]
    pub(crate) fn take_backed(&mut self, len_bytes: usize) -> Option<Bucket> {
        let next = self.next_free()?;
        if self.is_backed(next, len_bytes) { self.take() } else { None }
    }

    #[inline(always)]
    fn is_backed(&self, bucket: Bucket, len_bytes: usize) -> bool {
        let backed = self.backed_bytes[bucket.0 as usize];
        len_bytes <= backed && backed > 0
    }

    /// A free bucket, now with the publisher's user.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<Bucket> {
        let bucket = self.free.pop()?;
        self.loaned += 1;
        Some(bucket)
    }

    /// Makes one more bucket free, with memory for a message of `len_bytes`, by `back`, which gets the range of bytes in
    /// the pool. `false` if all are in use.
    ///
    /// # Errors
    /// What `back` answers.
    pub(crate) fn grow(
        &mut self,
        len_bytes: usize,
        back: impl FnOnce(std::ops::Range<usize>) -> Result<()>,
    ) -> Result<bool> {
        if self.backed() == self.geometry.buckets {
            return Ok(false);
        }
        // A geometry has at most 65536 buckets.
        let bucket = Bucket(self.backed() as u32);
        self.backed_bytes.push(0);
        if let Err(error) = self.back(bucket, len_bytes, back) {
            self.backed_bytes.pop();
            return Err(error);
        }
        self.free.push(bucket);
        Ok(true)
    }

    /// Sees to it that the bucket has memory for a message of `len_bytes`, by `back`: as much as the longest needed yet,
    /// not as much as the longest that there may be.
    ///
    /// # Errors
    /// What `back` answers.
    pub(crate) fn back(
        &mut self,
        bucket: Bucket,
        len_bytes: usize,
        back: impl FnOnce(std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        if self.is_backed(bucket, len_bytes) {
            return Ok(());
        }
        let backed = &mut self.backed_bytes[bucket.0 as usize];
        let whole = self.geometry.bucket_bytes;
        let wanted = len_bytes.max(BACKED_MIN_BYTES).checked_next_power_of_two().unwrap_or(whole).min(whole);
        let start = bucket.0 as usize * whole;
        back(start + *backed..start + wanted)?;
        *backed = wanted;
        Ok(())
    }

    /// The publisher's user gives a bucket back unpublished.
    pub(crate) fn give_back(&mut self, bucket: Bucket) {
        self.loaned -= 1;
        self.free.push(bucket);
    }

    /// The publisher's user published a bucket as message `number`, later than all before.
    pub(crate) fn published(&mut self, number: u64, bucket: Bucket) {
        debug_assert!(self.published.back().is_none_or(|(last, _)| *last < number));
        self.loaned -= 1;
        self.published.push_back((number, bucket));
    }

    /// How many buckets are with the publisher's user.
    pub(crate) fn loaned(&self) -> usize {
        self.loaned
    }

    /// How many have memory.
    pub(crate) fn backed(&self) -> usize {
        self.backed_bytes.len()
    }

    /// How many are held by subscribers although the log gave them up.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// The oldest message whose bucket is still published.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.published.front().map(|(number, _)| *number)
    }

    /// The one that is taken next, if it is free by then.
    #[inline(always)]
    pub(crate) fn next_free(&self) -> Option<Bucket> {
        self.free.last().copied()
    }

    /// Whether a free bucket can be had at once.
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Frees the buckets of messages before `number`, except those that the survey, made after everybody had passed
    /// them or they were given up, found held.
    pub(crate) fn reclaim(&mut self, number: u64, survey: &Survey) {
        let is_held = |number: u64| survey.hazards.contains(&number);
        let free = &mut self.free;
        self.held.retain(|(number, bucket)| {
            let keep = is_held(*number);
            if !keep {
                free.push(*bucket);
            }
            keep
        });
        while let Some((published, bucket)) = self.published.pop_front_if(|(published, _)| *published < number) {
            if is_held(published) {
                self.held.push((published, bucket));
            } else {
                self.free.push(bucket);
            }
        }
    }
}
