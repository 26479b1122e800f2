//! Payload bytes in shared memory: copied in and out so that a peer that writes at the wrong moment gives odd bytes,
//! never undefined behaviour.
//!
//! The invariant: every access is an atomic one, or an instruction the compiler does not see into. What the bytes mean
//! is decided above. Ranges are checked by callers and asserted here, because this is the last line before the memory.

use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering};

/// Memory for payload, as 64-bit words.
#[derive(Clone, Debug)]
pub(crate) struct Cells(View<[AtomicU64]>);

const WORD: usize = 8;

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

    use super::{AtomicU64, Cells, Ordering, WORD};
    use crate::raw::atomic::AtomicU8;

    /// From this many bytes on, one string instruction beats a loop of word copies.
    const STRING_COPY_MIN_BYTES: usize = 512;

    impl Cells {
        /// Copies `bytes` to `offset`.
        ///
        /// # Panics
        /// If they do not fit there.
        pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
            let to = self.start(offset, bytes.len());
            if cfg!(target_arch = "x86_64") && bytes.len() >= STRING_COPY_MIN_BYTES {
                // SAFETY: `to` is valid for so many bytes (`start` asserts it), and shared memory is never a Rust
                // variable, so the two cannot overlap.
                unsafe { string_copy(to.as_ptr(), bytes.as_ptr(), bytes.len()) };
                return;
            }
            let (head, rest) = bytes.split_at(to.align_offset(WORD).min(bytes.len()));
            let (words, tail) = rest.as_chunks::<WORD>();
            for (index, byte) in head.iter().enumerate() {
                self.byte(offset + index).store(*byte, Ordering::Relaxed);
            }
            // Relaxed throughout: whoever says that the bytes are there says so by a release store afterwards.
            let first = (offset + head.len()) / WORD;
            for (cell, word) in self.0[first..first + words.len()].iter().zip(words) {
                cell.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
            }
            let done = bytes.len() - tail.len();
            for (index, byte) in tail.iter().enumerate() {
                self.byte(offset + done + index).store(*byte, Ordering::Relaxed);
            }
        }

        /// Copies from `offset` into all of `buffer`.
        ///
        /// # Panics
        /// If there are not so many bytes.
        pub(crate) fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
            let from = self.start(offset, buffer.len());
            let len = buffer.len();
            if cfg!(target_arch = "x86_64") && len >= STRING_COPY_MIN_BYTES {
                // SAFETY: as in `copy_in`.
                unsafe { string_copy(buffer.as_mut_ptr(), from.as_ptr(), len) };
                return;
            }
            let (head, rest) = buffer.split_at_mut(from.align_offset(WORD).min(len));
            let (words, tail) = rest.as_chunks_mut::<WORD>();
            for (index, byte) in head.iter_mut().enumerate() {
                *byte = self.byte(offset + index).load(Ordering::Relaxed);
            }
            let first = (offset + head.len()) / WORD;
            for (cell, word) in self.0[first..first + words.len()].iter().zip(words) {
                *word = cell.load(Ordering::Relaxed).to_ne_bytes();
            }
            let done = len - tail.len();
            for (index, byte) in tail.iter_mut().enumerate() {
                *byte = self.byte(offset + done + index).load(Ordering::Relaxed);
            }
        }

        /// Where `len` bytes from `offset` lie. To read or write them through the pointer is sound only while every
        /// other process that maps the memory keeps to the protocol.
        pub(crate) fn start(&self, offset: usize, len: usize) -> NonNull<u8> {
            self.assert_within(offset, len);
            let base = NonNull::from(&*self.0).cast::<u8>();
            // SAFETY: offset <= the length of the slice, just asserted.
            unsafe { base.add(offset) }
        }

        fn byte(&self, offset: usize) -> &AtomicU8 {
            let place = self.start(offset, 1);
            // SAFETY: inside the slice, which lives as long as &self and is made of atomics (`UnsafeCell`), so it may
            // be written through a pointer from a shared reference; alignment 1.
            unsafe { AtomicU8::from_ptr(place.as_ptr()) }
        }
    }

    /// `rep movsb`: the processor's own copy, which the compiler treats as unknown and so cannot break by a race.
    ///
    /// # Safety
    /// `from` must be readable and `to` writable for `len` bytes, and the two must not overlap.
    #[cfg(target_arch = "x86_64")]
    unsafe fn string_copy(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: validity of both ranges is the caller's promise; the direction flag is clear by the ABI, and the
        // instruction changes only the three registers named as outputs and the memory at `to`.
        unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn string_copy(_: *mut u8, _: *const u8, _: usize) {
        unreachable!("called on x86_64 only");
    }

    const _: () = assert!(size_of::<AtomicU64>() == WORD);
}

#[cfg(model)]
mod copy {
    use super::{Cells, Ordering, WORD};

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
