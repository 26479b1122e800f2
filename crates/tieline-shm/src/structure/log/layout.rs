//! Where everything lies in a log segment, and the check of what a publisher claims about it.

use crate::error::{Error, ErrorKind, Result};
use crate::raw::Words;
use crate::raw::atomic::{AtomicU64, Ordering};
#[cfg(not(model))]
use crate::segment::Fact;

/// Payloads up to this many bytes can lie in their slot. A longer slot would cost every poll a third cache line.
pub(crate) const INLINE_MAX_BYTES: usize = 112;

/// A log of fewer slots cannot keep a publisher and a reader apart.
pub(crate) const SLOTS_MIN: usize = 2;
/// Sixteen million: more would be a mistake, and the arithmetic on lengths stays far from overflow.
pub(crate) const SLOTS_MAX: usize = 1 << 24;
/// Sixty-five thousand buckets: their numbers fit a descriptor, and a scan of them stays short.
pub(crate) const BUCKETS_MAX: usize = 1 << 16;
/// One terabyte: lengths stay far from overflow.
pub(crate) const BUCKET_MAX_BYTES: usize = 1 << 40;

/// Where the slots begin, after the header.
pub(crate) const SLOTS_OFFSET: usize = 512;
/// What buckets are aligned to: a page, so that memory can be found for each alone.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The start of a log segment's body. Written by the publisher alone.
#[repr(C, align(128))]
pub(crate) struct LogHeader {
    /// [`Geometry`], in the order of its fields. Written before the segment is shared.
    geometry: [AtomicU64; 8],
    _reserved: [AtomicU64; 8],
    /// The number of the next message: for late joiners, skippers and lookers; readers in step do not load it.
    head: AtomicU64,
    /// In a log that is one subscriber's own: how many messages it was not given.
    dropped: AtomicU64,
    /// There: the inode of the publisher's log.
    log: AtomicU64,
    _head_line: [AtomicU64; 13],
    /// Payloads of messages before this number may be gone from the pool.
    oldest: AtomicU64,
    _oldest_line: [AtomicU64; 15],
}

// SAFETY: repr(C), atomics only, 384 bytes without padding.
unsafe impl Words for LogHeader {}

impl LogHeader {
    pub(crate) fn head(&self) -> &AtomicU64 {
        &self.head
    }

    pub(crate) fn dropped(&self) -> &AtomicU64 {
        &self.dropped
    }

    pub(crate) fn oldest(&self) -> &AtomicU64 {
        &self.oldest
    }

    /// In a log that is one subscriber's own, before it is shared: whose messages it has, for people who look.
    #[cfg(not(model))]
    pub(crate) fn tell_log(&self, inode: u64) {
        // Relaxed: handing over the descriptor of the segment orders it.
        self.log.store(inode, Ordering::Relaxed);
    }

    /// The same of a log that is one subscriber's own.
    #[cfg(not(model))]
    pub(crate) const OWN_FACTS: [Fact<'static>; 5] = [
        Self::FACTS[0],
        Self::FACTS[1],
        Self::FACTS[5],
        Fact::word("dropped", std::mem::offset_of!(Self, dropped)),
        Fact::word("log inode", std::mem::offset_of!(Self, log)),
    ];

    /// Where a log tells lookers how it is, if its header begins the segment's body.
    #[cfg(not(model))]
    pub(crate) const FACTS: [Fact<'static>; 7] = {
        const fn measure(name: &str, index: usize) -> Fact<'_> {
            Fact::word(name, std::mem::offset_of!(LogHeader, geometry) + index * 8)
        }
        [
            measure("slots", 0),
            measure("slot words", 1),
            measure("bucket bytes", 2),
            measure("buckets", 3),
            measure("history", 4),
            Fact::word("head", std::mem::offset_of!(Self, head)),
            Fact::word("oldest", std::mem::offset_of!(Self, oldest)),
        ]
    };

    /// An empty header for memory that is not zeroed by the kernel.
    #[cfg(test)]
    pub(crate) fn zeroed() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            geometry: std::array::from_fn(|_| zero()),
            _reserved: std::array::from_fn(|_| zero()),
            head: zero(),
            dropped: zero(),
            log: zero(),
            _head_line: std::array::from_fn(|_| zero()),
            oldest: zero(),
            _oldest_line: std::array::from_fn(|_| zero()),
        }
    }
}

/// The measures of a log, all fixed at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// A power of two.
    pub(crate) slots: usize,
    /// Words from one slot to the next.
    pub(crate) stride_words: usize,
    /// Bytes in one bucket of the pool; 0 if there is no pool.
    pub(crate) bucket_bytes: usize,
    /// How many buckets the pool can have.
    pub(crate) buckets: usize,
    /// How many of the last messages a late joiner may ask for.
    pub(crate) history: usize,
}

impl Geometry {
    /// A log of at least `slots` slots for messages of up to `inline_bytes` in the slot, without a pool.
    pub(crate) fn new(slots: usize, inline_bytes: usize) -> Self {
        Self {
            slots: slots.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two(),
            stride_words: stride_words(inline_bytes),
            bucket_bytes: 0,
            buckets: 0,
            history: 0,
        }
    }

    /// With a pool of up to `buckets` buckets of at least `bytes` each.
    pub(crate) fn with_pool(mut self, buckets: usize, bytes: usize) -> Self {
        self.buckets = buckets.min(BUCKETS_MAX);
        self.bucket_bytes = bytes.next_multiple_of(PAGE_BYTES);
        self
    }

    /// With up to `history` messages for late joiners; at most half the slots, so that the slot being written is
    /// never one that a joiner was promised.
    pub(crate) fn with_history(mut self, history: usize) -> Self {
        self.history = history.min(self.slots / 2);
        self
    }

    /// Bytes of payload that fit in a slot.
    pub(crate) fn inline_bytes(&self) -> usize {
        (self.stride_words - 2) * 8
    }

    pub(crate) fn slot_words(&self) -> usize {
        self.slots * self.stride_words
    }

    /// Where the pool begins in the segment's body.
    pub(crate) fn pool_offset(&self) -> usize {
        (SLOTS_OFFSET + self.slot_words() * 8).next_multiple_of(PAGE_BYTES)
    }

    /// The same of a log with these measures, which may be lies.
    #[cfg(not(model))]
    pub(crate) fn pool_offset_of(slots: u64, slot_words: u64) -> u64 {
        let slots = slots.saturating_mul(slot_words).saturating_mul(8);
        slots.saturating_add(SLOTS_OFFSET as u64).checked_next_multiple_of(PAGE_BYTES as u64).unwrap_or(u64::MAX)
    }

    pub(crate) fn pool_bytes(&self) -> usize {
        self.buckets * self.bucket_bytes
    }

    /// Bytes of the segment's body.
    pub(crate) fn body_bytes(&self) -> usize {
        self.pool_offset() + self.pool_bytes()
    }

    /// Tells readers; before the segment is shared.
    pub(crate) fn announce(&self, header: &LogHeader) {
        let fields = [self.slots, self.stride_words, self.bucket_bytes, self.buckets, self.history];
        for (word, field) in header.geometry.iter().zip(fields) {
            // Relaxed: handing over the descriptor of the segment orders it.
            word.store(field as u64, Ordering::Relaxed);
        }
    }

    /// What the publisher of a log of `body_bytes` claims, if it is possible.
    ///
    /// # Errors
    /// `Corrupted`.
    pub(crate) fn claimed(header: &LogHeader, body_bytes: usize) -> Result<Self> {
        // Relaxed: written before the segment was handed over. Each is loaded once and checked as loaded.
        let field =
            |index: usize| usize::try_from(header.geometry[index].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let claim = Self {
            slots: field(0),
            stride_words: field(1),
            bucket_bytes: field(2),
            buckets: field(3),
            history: field(4),
        };
        let possible = claim.slots.is_power_of_two()
            && (SLOTS_MIN..=SLOTS_MAX).contains(&claim.slots)
            && (4..=INLINE_MAX_BYTES / 8 + 2).contains(&claim.stride_words)
            && claim.stride_words.is_multiple_of(2)
            && claim.buckets <= BUCKETS_MAX
            && claim.bucket_bytes <= BUCKET_MAX_BYTES
            && claim.bucket_bytes.is_multiple_of(PAGE_BYTES)
            && claim.history <= claim.slots
            && claim.body_bytes() <= body_bytes;
        if possible {
            Ok(claim)
        } else {
            Err(Error::new("accept a log", ErrorKind::Corrupted).because("its measures are impossible"))
        }
    }
}

/// Words of a slot for `inline_bytes`: stamp, payload, guard.
///
/// Up to 48 bytes a slot lies within one cache line. Above, slots follow each other closely, because the bytes that
/// travel between two processors limit the rate (measured: 80-byte slots carry twice the messages of 128-byte ones).
fn stride_words(inline_bytes: usize) -> usize {
    let words = inline_bytes.min(INLINE_MAX_BYTES).div_ceil(8) + 2;
    match words {
        0..=4 => 4,
        5..=8 => 8,
        _ => words.next_multiple_of(2),
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_as_documented() {
        assert_eq!(size_of::<LogHeader>(), 384);
        assert_eq!(std::mem::offset_of!(LogHeader, geometry), 0);
        assert_eq!(std::mem::offset_of!(LogHeader, head), 128);
        assert_eq!(std::mem::offset_of!(LogHeader, dropped), 136);
        assert_eq!(std::mem::offset_of!(LogHeader, oldest), 256);
    }

    #[test]
    fn slots_of_small_messages_do_not_straddle_lines() {
        for (inline, words) in [(0, 4), (8, 4), (16, 4), (17, 8), (48, 8), (49, 10), (64, 10), (112, 16), (500, 16)] {
            let geometry = Geometry::new(8, inline);
            assert_eq!(geometry.stride_words, words, "{inline} bytes");
            assert!(geometry.inline_bytes() >= inline.min(INLINE_MAX_BYTES));
        }
    }

    #[test]
    fn only_possible_measures_are_believed() {
        let header = LogHeader::zeroed();
        let geometry = Geometry::new(100, 64).with_pool(3, 5000).with_history(7);
        geometry.announce(&header);
        assert_eq!(Geometry::claimed(&header, geometry.body_bytes()).unwrap(), geometry);
        assert_eq!(geometry.slots, 128);
        let refused = |header: &LogHeader, bytes| Geometry::claimed(header, bytes).unwrap_err().kind();
        assert_eq!(refused(&header, geometry.body_bytes() - 1), ErrorKind::Corrupted);
        for field in 0..5 {
            for lie in [u64::MAX, 1 << 63, 1 << 45, 3] {
                geometry.announce(&header);
                header.geometry[field].store(lie, Ordering::Relaxed);
                let possible = lie == 3 && field >= 3;
                assert_eq!(Geometry::claimed(&header, geometry.body_bytes()).is_ok(), possible, "{field} {lie}");
            }
        }
    }
}
