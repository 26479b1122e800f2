//! Bytes to send and numbers to name things by.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of which no part looks like another: eight-byte words, each of its own.
#[must_use]
pub fn data(len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).map(|word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    let mut data: Vec<u8> = words.flatten().collect();
    data.truncate(len);
    data
}

/// Compares without printing megabytes.
///
/// # Panics
/// If the two differ, saying where first.
#[track_caller]
pub fn assert_same(got: &[u8], expected: &[u8]) {
    if got == expected {
        return;
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    panic!("{} bytes came of {}; the first difference is at {at:?}", got.len(), expected.len());
}

/// A number above zero that no other test of this run has, nor, very likely, one of another run at the same time.
#[must_use]
pub fn unique_number() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    (std::process::id() % 100_000) * 10_000 + COUNT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_the_data_comes_twice() {
        let all = data(80_003);
        assert_eq!(all.len(), 80_003);
        let mut words: Vec<_> = all.chunks(8).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 10_001);
        assert_ne!(unique_number(), unique_number());
    }

    #[test]
    #[should_panic(expected = "3 bytes came of 4; the first difference is at Some(1)")]
    fn a_difference_is_told_by_its_place() {
        assert_same(b"abc", b"aXcd");
    }
}
