//! Copying bytes that other processes may change meanwhile, where a [`Region`](crate::Region) is not at hand.
//!
//! The copies are relaxed and not whole: a peer that writes at the wrong moment gives a mixture of old and new bytes.
//! Nothing here blocks, calls the kernel or allocates.

use std::sync::atomic::AtomicU8;

use crate::sys;

/// Copies `from` into `to`. The memory may be mapped for reading only.
///
/// # Panics
/// If the two are not of one length.
#[inline]
pub fn load(from: &[AtomicU8], to: &mut [u8]) {
    sys::bytes::load(from, to);
}

/// Copies `from` into `to`.
///
/// # Panics
/// If the two are not of one length.
#[inline]
pub fn store(to: &[AtomicU8], from: &[u8]) {
    sys::bytes::store(to, from);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every small length at every alignment, and some long ones, arrive whole and touch nothing beside.
    #[test]
    fn copies_are_exact_at_every_alignment() {
        for len in (0..40).chain([511, 512, 513, 2000]) {
            for offset in 1..17 {
                let memory: Vec<AtomicU8> = (0..4096).map(|_| AtomicU8::new(0xEE)).collect();
                let bytes: Vec<u8> = (0..len).map(|index| index as u8).collect();
                store(&memory[offset..offset + len], &bytes);
                let mut back = vec![0; len + 2];
                load(&memory[offset - 1..=offset + len], &mut back);
                assert_eq!((back[0], back[len + 1]), (0xEE, 0xEE), "len {len} offset {offset}");
                assert_eq!(&back[1..=len], bytes, "len {len} offset {offset}");
            }
        }
    }
}
