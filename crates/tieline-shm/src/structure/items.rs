//! Payloads as users see them: one value or several, in our own memory, in a bucket being filled, in a bucket held.
//!
//! The invariant: a typed reference is given out only to bytes that were checked to be values of the type, and that
//! nobody else may change as long as the reference lives.

use std::any::Any;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ShmSafe, is_spared};
use crate::raw::atomic::Ordering;
use crate::raw::process;
use crate::raw::words::bytes_of;
use crate::structure::log::{BUCKET_MAX_BYTES, Entry, HELD_MAX, INLINE_MAX_BYTES, PAGE_BYTES, Roster, release};
use crate::structure::pool::{Bucket, Buckets, Descriptor};

/// The bytes of values that follow each other.
#[inline(always)]
pub(crate) fn bytes_of_items<T: ShmSafe>(items: &[T]) -> &[u8] {
    // One by one the values are bytes without padding (this also has their layout checked at compile time).
    if let [one] = items {
        return bytes_of(one);
    }
    // SAFETY: ShmSafe types have no padding and no interior mutability, and a slice has none between its elements;
    // the length is that of the slice, which is borrowed as long as the result.
    unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) }
}

/// How many `T` are in `len_bytes`, if a whole number of them.
pub(super) fn count_of<T>(len_bytes: usize) -> Option<usize> {
    match size_of::<T>() {
        0 => (len_bytes == 0).then_some(1),
        size => len_bytes.is_multiple_of(size).then_some(len_bytes / size),
    }
}

/// How many `T` the bytes are.
///
/// # Errors
/// `Corrupted` if they are no whole number of values, or one is none.
pub(super) fn check_all<T: ShmSafe>(operation: &'static str, bytes: &[u8]) -> Result<usize> {
    let corrupted = |why: String| Error::new(operation, ErrorKind::Corrupted).because(why);
    let count = count_of::<T>(bytes.len())
        .ok_or_else(|| corrupted(format!("{} bytes are no whole number of {}", bytes.len(), T::LAYOUT.name)))?;
    if size_of::<T>() != 0 && !is_spared::<T>() {
        for bytes in bytes.chunks_exact(size_of::<T>()) {
            T::check(bytes).map_err(|invalid| corrupted(invalid.to_string()))?;
        }
    }
    Ok(count)
}

/// Up to [`INLINE_MAX_BYTES`] of values in memory of our own, copied from a slot.
///
/// A received message is moved a few times, in pieces of sixteen bytes, and a processor waits where such a piece was
/// stored as two. So everything here is stored in such pieces.
#[repr(C)]
pub(crate) struct Inline<T> {
    bytes: Buffer,
    tail: Tail,
    of: PhantomData<T>,
}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Buffer([u8; INLINE_MAX_BYTES]);

/// What is known of the bytes.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Tail {
    /// So many values at the start were checked, if it is filled.
    count: u64,
    state: State,
}

/// A word, although a bit would do: there is room in it for the variants of what has an [`Inline`], which so is 128
/// bytes, as many as are moved without a call.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum State {
    Empty,
    Filled,
}

impl Tail {
    const EMPTY: Self = Self { count: 0, state: State::Empty };

    #[inline(always)]
    fn fill(&mut self, count: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            // SAFETY: both are sixteen bytes of which every pattern is a value.
            let tail: std::arch::x86_64::__m128i = unsafe { std::mem::transmute([count, State::Filled as u64]) };
            // SAFETY: sixteen bytes that are borrowed exclusively, aligned to sixteen; the first word is the count, of
            // which every pattern is a value, the second that of `Filled` (repr(C)).
            unsafe { std::ptr::from_mut(self).cast::<std::arch::x86_64::__m128i>().write(tail) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        {
            *self = Self { count, state: State::Filled };
        }
    }
}

impl<T: ShmSafe> Inline<T> {
    /// Whether values of the type can lie in a slot and here.
    pub(crate) const FITS: bool = size_of::<T>() <= INLINE_MAX_BYTES && align_of::<T>() <= align_of::<Buffer>();

    /// No values.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { bytes: Buffer([0; INLINE_MAX_BYTES]), tail: Tail::EMPTY, of: PhantomData }
    }

    /// Room for `len_bytes`, at most [`INLINE_MAX_BYTES`]; what was there is no value any more.
    #[inline(always)]
    pub(crate) fn room(&mut self, len_bytes: usize) -> &mut [u8] {
        self.tail.state = State::Empty;
        &mut self.bytes.0[..len_bytes]
    }

    /// Believes that the first `len_bytes` of the room are values.
    ///
    /// # Errors
    /// `Corrupted` if they are none, or more than there can be.
    #[inline(always)]
    pub(crate) fn fill(&mut self, operation: &'static str, len_bytes: usize) -> Result<()> {
        if len_bytes > INLINE_MAX_BYTES || align_of::<T>() > align_of::<Buffer>() {
            return Err(Error::new(operation, ErrorKind::Corrupted).because("its length is wrong"));
        }
        let bytes = self.room(len_bytes);
        let count = check_all::<T>(operation, bytes)?;
        self.tail.fill(count as u64);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn items(&self) -> &[T] {
        if self.tail.state != State::Filled {
            return &[];
        }
        // It was a usize.
        let count = self.tail.count as usize;
        // SAFETY: `fill` checked that `count` values are there, aligned for T, in memory that only `self` owns, and
        // nothing was written since (`room` makes it empty).
        unsafe { std::slice::from_raw_parts(self.bytes.0.as_ptr().cast(), count) }
    }
}

/// A bucket with the publisher's user, not published yet.
#[derive(Debug)]
pub(crate) struct Loaned {
    buckets: Arc<Buckets>,
    bucket: Bucket,
    len_bytes: usize,
}

impl Loaned {
    /// `bucket` must be one that the publisher's pool just took, of which there is no other `Loaned`; it must be at
    /// least `len_bytes` long.
    #[inline(always)]
    pub(super) fn new(buckets: Arc<Buckets>, bucket: Bucket, len_bytes: usize) -> Self {
        Self { buckets, bucket, len_bytes }
    }

    pub(crate) fn bucket(&self) -> Bucket {
        self.bucket
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// What the next one may be made of.
    pub(super) fn into_buckets(self) -> Arc<Buckets> {
        self.buckets
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the bucket is at least so long (`new`), mapped as long as `buckets` lives, and initialised, as all
        // mapped memory is. Only its publisher may write the segment, and of the publisher only the one `Loaned` of a
        // taken bucket, which is borrowed; subscribers read no bucket that is not published.
        unsafe { std::slice::from_raw_parts(self.buckets.start(self.bucket).as_ptr(), self.len_bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the one `Loaned` is borrowed exclusively. The segment is mapped for writing here:
        // only publishers have pools, over the segment they made.
        unsafe { std::slice::from_raw_parts_mut(self.buckets.start(self.bucket).as_ptr(), self.len_bytes) }
    }

    /// Writes all of it.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.bytes_mut().copy_from_slice(bytes);
    }

    /// As values, if what happens to lie in the bucket is such: zeros, or an earlier message.
    pub(crate) fn into_items<T: ShmSafe>(self) -> Result<LoanedItems<T>, Self> {
        match check_all::<T>("loan", self.bytes()) {
            Ok(count) => Ok(LoanedItems::over(self, count)),
            Err(_) => Err(self),
        }
    }

    /// As values that are yet to be written.
    pub(crate) fn into_uninit<T: ShmSafe>(self) -> LoanedItems<MaybeUninit<T>> {
        let count = count_of::<T>(self.len_bytes).unwrap_or(0);
        LoanedItems::over(self, count)
    }
}

/// A bucket being filled, as values.
#[derive(Debug)]
pub(crate) struct LoanedItems<T> {
    loaned: Loaned,
    count: usize,
    of: PhantomData<T>,
}

// SAFETY: it is the only way to its bytes, as a Box would be.
unsafe impl<T: Send> Send for LoanedItems<T> {}
// SAFETY: shared, it only gives shared references.
unsafe impl<T: Sync> Sync for LoanedItems<T> {}

impl<T> LoanedItems<T> {
    /// `loaned` has `count` values.
    fn over(loaned: Loaned, count: usize) -> Self {
        assert!(align_of::<T>() <= PAGE_BYTES, "no publisher is made for types of such alignment");
        Self { loaned, count, of: PhantomData }
    }

    pub(crate) fn items(&self) -> &[T] {
        // SAFETY: `loaned` has `count` values of T, checked (or T is MaybeUninit), at a page's start, and `over` saw that
        // no more alignment is asked for. Nobody else reaches them (`Loaned::bytes`).
        unsafe { std::slice::from_raw_parts(self.loaned.bytes().as_ptr().cast(), self.count) }
    }

    pub(crate) fn items_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `items`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.loaned.bytes_mut().as_mut_ptr().cast(), self.count) }
    }

    pub(crate) fn into_loaned(self) -> Loaned {
        self.loaned
    }
}

impl<T> LoanedItems<MaybeUninit<T>> {
    /// Writes all values.
    pub(crate) fn fill_with(mut self, mut item: impl FnMut(usize) -> T) -> LoanedItems<T> {
        for (index, place) in self.items_mut().iter_mut().enumerate() {
            place.write(item(index));
        }
        LoanedItems::over(self.loaned, self.count)
    }
}

/// What a subscriber needs to read a bucket, and to give it back.
pub(crate) struct Holder {
    pub(crate) buckets: Buckets,
    pub(crate) roster: Roster,
    pub(crate) entry: Entry,
    /// The publisher may be believed not to write what it published: it runs as our own user.
    pub(crate) is_trusted: bool,
    /// What must last as long as anything is held, because its end tells the publisher that nothing is held any more.
    pub(crate) line: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// Of the process whose the hazards are.
    pub(crate) generation: u32,
}

/// Which bucket is held, and by which hazard: two words, so that a function answers it in registers. A processor waits
/// where words that were just stored one by one are loaded in one piece, and that is how structures are moved.
#[derive(Clone, Copy)]
pub(crate) struct Grip {
    /// The length, and in the lowest bits the hazard's number, plus one.
    len_and_hazard: NonZero<u64>,
    bucket: Bucket,
}

/// Hazards are fewer than a thousand and 24; lengths less than 2 to the 41.
const HAZARD_BITS: u32 = 16;

impl Grip {
    /// `hazard` must be the answer of [`Reader::hold`](crate::structure::log::Reader::hold) for the message whose
    /// descriptor said, checked, what this one says; not used elsewhere.
    #[inline(always)]
    pub(crate) fn new(descriptor: Descriptor, hazard: usize) -> Self {
        debug_assert!(hazard < HELD_MAX && descriptor.len_bytes <= BUCKET_MAX_BYTES);
        let len_and_hazard = (descriptor.len_bytes as u64) << HAZARD_BITS | (hazard as u64 + 1);
        // The hazard's part is not zero.
        Self { len_and_hazard: NonZero::new(len_and_hazard).unwrap_or(NonZero::<u64>::MIN), bucket: descriptor.bucket }
    }

    fn hazard(self) -> usize {
        // At most 1024.
        (self.len_and_hazard.get() & ((1 << HAZARD_BITS) - 1)) as usize - 1
    }

    fn len_bytes(self) -> usize {
        // It was a usize.
        (self.len_and_hazard.get() >> HAZARD_BITS) as usize
    }
}

/// A bucket that a hazard of ours keeps from being reused; dropping gives it back.
pub(crate) struct Held {
    holder: Arc<Holder>,
    grip: Grip,
}

impl Held {
    /// `grip` must be of the log that `holder` is of, and not used elsewhere.
    #[inline(always)]
    pub(crate) fn new(holder: Arc<Holder>, grip: Grip) -> Self {
        Self { holder, grip }
    }

    /// As values, in place.
    ///
    /// # Errors
    /// `Corrupted` if they are none.
    #[inline(always)]
    pub(crate) fn into_items<T: ShmSafe>(self, operation: &'static str) -> Result<HeldItems<T>> {
        assert!(self.holder.is_trusted, "a reference into memory of another user");
        if align_of::<T>() > PAGE_BYTES {
            // No publisher of ours has such a type; one that says so may be of anybody's making.
            return Err(Error::new(operation, ErrorKind::Unsupported).because("its type is aligned beyond a page"));
        }
        let count = check_all::<T>(operation, self.bytes())?;
        Ok(HeldItems { held: self, count, of: PhantomData })
    }

    /// A checked copy of the values, for publishers that might write meanwhile.
    ///
    /// # Errors
    /// `Corrupted` if they are none.
    pub(crate) fn copy<T: ShmSafe>(&self, operation: &'static str) -> Result<Box<[T]>> {
        let mut copy: Box<[u64]> = self
            .holder
            .buckets
            .words(self.grip.bucket)
            .iter()
            .take(self.grip.len_bytes().div_ceil(8))
            // Relaxed: ordered by the acquire load of the stamp; a mixture from a hostile publisher is checked.
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        // SAFETY: the words are ours, initialised, and at least `len_bytes` long.
        let bytes = unsafe { std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), self.grip.len_bytes()) };
        let count = check_all::<T>(operation, bytes)?;
        let start = bytes.as_ptr().cast::<T>();
        let value = |index| {
            // SAFETY: `index` is below `count`, so this lies within the copy.
            let value = unsafe { start.add(index) };
            // SAFETY: it was checked to be a value, in memory of our own; read without regard to alignment.
            unsafe { value.read_unaligned() }
        };
        Ok((0..count).map(value).collect())
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.holder.is_trusted
    }

    fn bytes(&self) -> &[u8] {
        let start = self.holder.buckets.start(self.grip.bucket);
        // SAFETY: the descriptor's bucket and length were checked against the geometry, so the bytes lie within the
        // mapping that `holder` keeps. The publisher is trusted (`into_items`) to keep the pool's rule: it writes no
        // bucket of a message that a hazard names, and ours does until `self` is dropped; it does not forget the hazard
        // before, because `holder` keeps the line to it.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.grip.len_bytes()) }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        // A forked child has a copy of what its parent holds.
        if self.holder.generation == process::generation() {
            release(&self.holder.roster, &self.holder.entry, self.grip.hazard());
        }
    }
}

/// A bucket held, as values.
pub(crate) struct HeldItems<T> {
    held: Held,
    count: usize,
    of: PhantomData<T>,
}

// SAFETY: it gives shared references to T only, and its drop is a store to an atomic.
unsafe impl<T: Sync> Send for HeldItems<T> {}
// SAFETY: as for Send.
unsafe impl<T: Sync> Sync for HeldItems<T> {}

impl<T> HeldItems<T> {
    pub(crate) fn items(&self) -> &[T] {
        // SAFETY: `count` checked values at a page's start, which `into_items` found to be aligned enough; unchanged and mapped as long as `held` (`Held::bytes`).
        unsafe { std::slice::from_raw_parts(self.held.bytes().as_ptr().cast(), self.count) }
    }
}
