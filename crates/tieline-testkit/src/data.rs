//! Bytes to send and numbers to name things by.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

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

/// A number above zero and below 2^31 that no other test of this run has, nor, very likely, one of another run at the same
/// time, also if that runs in another pid namespace and shares other things with this one.
#[must_use]
pub fn unique_number() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    const OF_ONE_PROCESS: u32 = 10_000;
    const PROCESSES: u32 = 200_000;
    // Process ids are small in each namespace, and namespaces that exist at the same time differ in their inode.
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    let namespace = u32::try_from(namespace.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap_or_default();
    let process = (std::process::id() % PROCESSES + namespace % PROCESSES) % PROCESSES;
    process * OF_ONE_PROCESS + COUNT.fetch_add(1, Ordering::Relaxed) % OF_ONE_PROCESS
}

/// A directory of its own for a test, removed in the end, in which a Unix socket can have a name: not where the
/// environment wants temporary files to be, if that path is too long.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn directory() -> TempDir {
    /// Of the 107 bytes that a socket's name may have, what is left for its last part.
    const LAST_PART: usize = 30;
    let is_short = |directory: &TempDir| directory.path().as_os_str().len() + LAST_PART < 107;
    let wanted = tempfile::tempdir().expect("a temporary directory");
    if is_short(&wanted) {
        return wanted;
    }
    let elsewhere = ["/tmp", "/dev/shm"].into_iter().find_map(|parent| tempfile::tempdir_in(parent).ok());
    elsewhere.unwrap_or(wanted)
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
