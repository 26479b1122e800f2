//! SipHash-1-3 (Aumasson and Bernstein, 2012; the variant with one and three rounds, as in Rust's own maps): the same
//! number in every program, and not to be guessed without the key, so that nobody can choose keys that collide.

/// The hash of `bytes` under a key.
pub(super) fn sip13(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    for chunk in whole.iter().chain([&last]) {
        let word = u64::from_le_bytes(*chunk);
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn round(state: &mut [u64; 4]) {
    let [a, b, c, d] = state;
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rust's own hasher is the same function with the key 0, 0.
    #[test]
    #[expect(deprecated, reason = "the standard library's SipHash-1-3 is reached by no other name with a key")]
    fn it_is_the_standard_librarys() {
        use std::hash::{DefaultHasher, Hasher, SipHasher};
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).map(|byte| byte * 3 + 1).collect();
            let mut theirs = DefaultHasher::new();
            theirs.write(&bytes);
            assert_eq!(sip13([0, 0], &bytes), theirs.finish(), "{len} bytes");
            let mut slower = SipHasher::new_with_keys(0, 0);
            slower.write(&bytes);
            assert_ne!(sip13([0, 0], &bytes), slower.finish(), "2-4 is another function");
        }
        assert_ne!(sip13([1, 0], b"a"), sip13([0, 1], b"a"));
    }
}
