//! Copies of bytes that others may change while they are copied.
//!
//! The invariant: every access to them is an atomic one, or an instruction that the compiler does not see into, because a
//! plain load or store that races with another writer has no defined meaning in Rust.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What is copied at once: the widest atomic whose plain loads every processor makes without writing, so that memory
/// mapped for reading can be loaded from.
const WORD: usize = size_of::<usize>();

/// From this many bytes on, one string instruction beats a loop of word copies.
#[cfg(target_arch = "x86_64")]
const STRING_COPY_MIN_BYTES: usize = 512;

#[inline]
pub(crate) fn load(from: &[AtomicU8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len(), "as many bytes as there is room for");
    #[cfg(target_arch = "x86_64")]
    if to.len() >= STRING_COPY_MIN_BYTES {
        // SAFETY: two slices of one length, of which `to` is borrowed exclusively, so they do not overlap.
        unsafe { string_copy(to.as_mut_ptr(), from.as_ptr().cast(), to.len()) };
        return;
    }
    let (head, words, tail) = as_words(from);
    let (first, rest) = to.split_at_mut(head.len());
    let (middle, last) = rest.split_at_mut(words.len() * WORD);
    // Relaxed throughout, here and below: what the bytes mean, and when they are there, is told elsewhere.
    let each = |from: &[AtomicU8], to: &mut [u8]| {
        from.iter().zip(to).for_each(|(from, to)| *to = from.load(Ordering::Relaxed));
    };
    each(head, first);
    for (word, chunk) in words.iter().zip(middle.as_chunks_mut::<WORD>().0) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    each(tail, last);
}

#[inline]
pub(crate) fn store(to: &[AtomicU8], from: &[u8]) {
    assert_eq!(from.len(), to.len(), "as much room as there are bytes");
    #[cfg(target_arch = "x86_64")]
    if from.len() >= STRING_COPY_MIN_BYTES {
        // SAFETY: two slices of one length. `to` may be written through a shared reference, for it is atomics; `from`
        // does not overlap it, because it is plain bytes, which nobody changes as long as they are borrowed.
        unsafe { string_copy(to.as_ptr().cast_mut().cast(), from.as_ptr(), from.len()) };
        return;
    }
    let (head, words, tail) = as_words(to);
    let (first, rest) = from.split_at(head.len());
    let (middle, last) = rest.split_at(words.len() * WORD);
    let each = |to: &[AtomicU8], from: &[u8]| {
        to.iter().zip(from).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
    };
    each(head, first);
    for (word, chunk) in words.iter().zip(middle.as_chunks::<WORD>().0) {
        word.store(usize::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    each(tail, last);
}

pub(crate) fn fill(to: &[AtomicU8], byte: u8) {
    let (head, words, tail) = as_words(to);
    head.iter().chain(tail).for_each(|place| place.store(byte, Ordering::Relaxed));
    words.iter().for_each(|place| place.store(usize::from_ne_bytes([byte; WORD]), Ordering::Relaxed));
}

/// The same bytes, as many as possible in words.
#[inline]
fn as_words(bytes: &[AtomicU8]) -> (&[AtomicU8], &[AtomicUsize], &[AtomicU8]) {
    // SAFETY: both are atomics, of which every bit pattern is a value, and which may be changed through shared
    // references; that others access the bytes in other sizes is what `Region` tells of.
    unsafe { bytes.align_to() }
}

/// `rep movsb`: the processor's own copy, which the compiler treats as unknown and so cannot break by a race.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and the two must not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
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
