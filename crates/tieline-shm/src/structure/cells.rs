//! Payload bytes in shared memory: copied in and out so that a peer that writes at the wrong moment gives odd bytes,
//! never undefined behaviour.
//!
//! The invariant: every access is an atomic one, or an instruction the compiler does not see into. What the bytes mean
//! is decided above. Ranges are checked by callers and asserted here, because this is the last line before the memory.

use crate::raw::View;
use crate::raw::atomic::AtomicU64;

/// Memory for payload, as 64-bit words.
#[derive(Clone, Debug)]
pub(crate) struct Cells(View<[AtomicU64]>);

const WORD: usize = size_of::<u64>();

impl Cells {
    pub(crate) fn new(words: View<[AtomicU64]>) -> Self {
        Self(words)
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.0.len() * WORD
    }

    /// The word that begins `offset` bytes in, which must be a multiple of eight.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset / WORD]
    }

    fn assert_within(&self, offset: usize, len: usize) {
        let total = self.len_bytes();
        assert!(offset <= total && len <= total - offset, "range checked by the caller");
    }
}

#[cfg(not(model))]
mod copy {
    use std::ptr::NonNull;

    use tieline_os::atomic_bytes;

    use super::Cells;
    use crate::raw::atomic::AtomicU8;

    impl Cells {
        /// Copies `bytes` to `offset`.
        ///
        /// # Panics
        /// If they do not fit there.
        pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
            // Relaxed: whoever says that the bytes are there says so by a release store afterwards.
            atomic_bytes::store(self.bytes(offset, bytes.len()), bytes);
        }

        /// Copies from `offset` into all of `buffer`.
        ///
        /// # Panics
        /// If there are not so many bytes.
        pub(crate) fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
            atomic_bytes::load(self.bytes(offset, buffer.len()), buffer);
        }

        /// Where `len` bytes from `offset` lie. To read or write them through the pointer is sound only while every
        /// other process that maps the memory keeps to the protocol.
        pub(crate) fn start(&self, offset: usize, len: usize) -> NonNull<u8> {
            self.assert_within(offset, len);
            let base = NonNull::from(&*self.0).cast::<u8>();
            // SAFETY: offset <= the length of the slice, just asserted.
            unsafe { base.add(offset) }
        }

        fn bytes(&self, offset: usize, len: usize) -> &[AtomicU8] {
            let start = self.start(offset, len);
            // SAFETY: inside the slice (`start` asserts it), which lives as long as &self and is made of atomics, so it
            // may be written through a shared reference; alignment 1.
            unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), len) }
        }
    }
}

#[cfg(model)]
mod copy {
    use super::{Cells, WORD};
    use crate::raw::atomic::Ordering;

    /// In models offsets are multiples of eight, and what follows the last byte in its word is zeroed.
    impl Cells {
        pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
            self.assert_within(offset, bytes.len());
            for (index, chunk) in bytes.chunks(WORD).enumerate() {
                let mut word = [0; WORD];
                word[..chunk.len()].copy_from_slice(chunk);
                self.word(offset + index * WORD).store(u64::from_ne_bytes(word), Ordering::Relaxed);
            }
        }

        pub(crate) fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
            self.assert_within(offset, buffer.len());
            for (index, chunk) in buffer.chunks_mut(WORD).enumerate() {
                let word = self.word(offset + index * WORD).load(Ordering::Relaxed).to_ne_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    /// Every small length at every alignment, and some long ones, arrive whole and touch nothing beside.
    #[test]
    fn copies_are_exact_at_every_alignment() {
        for len in (0..40).chain([511, 512, 513, 2000]) {
            for offset in 1..17 {
                let words = (0..512).map(|_| AtomicU64::new(0xEEEE_EEEE_EEEE_EEEE)).collect();
                let cells = Cells::new(View::leak(words));
                let bytes: Vec<u8> = (0..len).map(|index| index as u8).collect();
                cells.copy_in(offset, &bytes);
                let mut back = vec![0; len + 2];
                cells.copy_out(offset - 1, &mut back);
                assert_eq!((back[0], back[len + 1]), (0xEE, 0xEE), "len {len} offset {offset}");
                assert_eq!(&back[1..=len], bytes, "len {len} offset {offset}");
            }
        }
    }
}
