//! Values in and out of atomic words: how a small payload crosses shared memory without a data race.
//!
//! A [`ShmSafe`] value has no padding, so every byte of it is defined and it can be moved as 64-bit words, each a
//! relaxed atomic. The invariant: what is loaded is a copy of our own, and becomes a value only after
//! [`ShmSafe::check`]; that the words belong together is for the caller to know (a sequence number, a lock).
//!
//! A value whose size is no multiple of eight takes one more word, whose last bytes are zero.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::layout::{Invalid, ShmSafe};
use crate::raw::atomic::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// Stores `bytes` in the first words, as many as it takes; the last is filled up with zeros.
///
/// # Panics
/// If there are too few words.
#[inline(always)]
#[expect(clippy::manual_memcpy, reason = "a loop over a known size becomes a move, a copy of a slice remains a call")]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    let (words, behind) = words.split_at(whole.len());
    for index in 0..whole.len() {
        words[index].store(u64::from_ne_bytes(whole[index]), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; WORD];
        for index in 0..rest.len() {
            last[index] = rest[index];
        }
        behind[0].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Fills `bytes` from the first words.
///
/// # Panics
/// If there are too few words.
#[inline(always)]
#[expect(clippy::manual_memcpy, reason = "as in store_bytes")]
pub(crate) fn load_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut::<WORD>();
    let (words, behind) = words.split_at(whole.len());
    for index in 0..whole.len() {
        whole[index] = words[index].load(Ordering::Relaxed).to_ne_bytes();
    }
    if !rest.is_empty() {
        let last = behind[0].load(Ordering::Relaxed).to_ne_bytes();
        for index in 0..rest.len() {
            rest[index] = last[index];
        }
    }
}

/// Loads two words, each relaxed, in one instruction where there is one: what is stored as sixteen bytes can be loaded as
/// sixteen bytes at once, while two stores of eight bytes make a processor wait.
#[inline(always)]
pub(crate) fn load_pair(pair: &[AtomicU64; 2]) -> [u8; 2 * WORD] {
    #[cfg(all(target_arch = "x86_64", not(model), not(miri)))]
    {
        let loaded: std::arch::x86_64::__m128i;
        // SAFETY: reads sixteen bytes that the reference says are there. The compiler knows nothing of this load but that
        // it reads memory, so it is no data race to it; to the processor it is two loads of eight bytes, as relaxed as
        // any. Needs no alignment.
        unsafe {
            std::arch::asm!(
                "movdqu {loaded}, [{from}]",
                loaded = lateout(xmm_reg) loaded,
                from = in(reg) pair,
                options(nostack, preserves_flags, readonly),
            );
        }
        // SAFETY: both are sixteen bytes of which every pattern is a value.
        unsafe { std::mem::transmute(loaded) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(model), not(miri))))]
    {
        let mut bytes = [0; 2 * WORD];
        load_bytes(pair, &mut bytes);
        bytes
    }
}

/// Stores two words, each relaxed, in one instruction where there is one.
#[inline(always)]
pub(crate) fn store_pair(pair: &[AtomicU64; 2], bytes: &[u8; 2 * WORD]) {
    #[cfg(all(target_arch = "x86_64", not(model), not(miri)))]
    {
        // SAFETY: both are sixteen bytes of which every pattern is a value.
        let stored: std::arch::x86_64::__m128i = unsafe { std::mem::transmute(*bytes) };
        // SAFETY: as in `load_pair`; atomics may be written through a shared reference.
        unsafe {
            std::arch::asm!(
                "movdqu [{to}], {stored}",
                stored = in(xmm_reg) stored,
                to = in(reg) pair,
                options(nostack, preserves_flags),
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(model), not(miri))))]
    store_bytes(pair, bytes);
}

/// The bytes of a value, all of them defined.
#[inline]
pub(crate) fn bytes_of<T: ShmSafe>(value: &T) -> &[u8] {
    let () = NoPadding::<T>::HOLDS;
    // SAFETY: a ShmSafe type has no padding, so each of its size_of::<T>() bytes is initialised, and no interior
    // mutability, so none changes while `value` is borrowed, as long as the slice lives.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value whose bytes these are.
///
/// # Errors
/// [`Invalid`] if they are no value of `T`, or not as many as it has.
pub(crate) fn value_of<T: ShmSafe>(bytes: &[u8]) -> Result<T, Invalid> {
    let mut loaded = Loaded::<T> { bytes: MaybeUninit::zeroed() };
    let target = loaded.as_bytes_mut();
    if target.len() != bytes.len() {
        return Err(Invalid::new(T::LAYOUT.name, "as many bytes as the type has"));
    }
    target.copy_from_slice(bytes);
    loaded.check()
}

/// A generic type's padding is looked for when its layout is asked for; this asks.
struct NoPadding<T>(PhantomData<T>);

impl<T: ShmSafe> NoPadding<T> {
    const HOLDS: () = assert!(T::LAYOUT.size == size_of::<T>() && T::LAYOUT.padding().is_none());
}

/// The bytes of a `T` as they came out of shared memory: our own copy, not yet believed.
pub(crate) struct Loaded<T> {
    /// Always initialised; not yet known to be a `T`.
    bytes: MaybeUninit<T>,
}

impl<T: ShmSafe> Loaded<T> {
    /// The value, if it is one. Costs nothing for types of which every bit pattern is a value.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    #[inline]
    pub(crate) fn check(self) -> Result<T, Invalid> {
        let () = NoPadding::<T>::HOLDS;
        T::check(self.as_bytes())?;
        // SAFETY: the bytes are initialised, and `check` answers Ok only for bytes that are a valid value, by the
        // contract of ShmSafe. They are a copy of ours (`self` by value), so nobody changed them after the check.
        Ok(unsafe { self.bytes.assume_init() })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: every constructor initialises all bytes (`zeroed`), which stay initialised.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), size_of::<T>()) }
    }

    #[inline]
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_bytes`; the borrow is exclusive, and a `u8` written keeps the byte initialised.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast(), size_of::<T>()) }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn words<const N: usize>() -> [AtomicU64; N] {
        std::array::from_fn(|_| AtomicU64::new(u64::MAX))
    }

    #[test]
    fn values_of_every_size_come_back_and_touch_nothing_behind() {
        fn there_and_back<const N: usize>() {
            let words = words::<6>();
            let value: [u8; N] = std::array::from_fn(|index| index as u8 + 1);
            store_bytes(&words, &value);
            let mut back = [0; N];
            load_bytes(&words, &mut back);
            assert_eq!(back, value);
            let behind = N.div_ceil(WORD);
            assert!(words[behind..].iter().all(|word| word.load(Ordering::Relaxed) == u64::MAX), "{N}");
            if !N.is_multiple_of(WORD) {
                let last = words[behind - 1].load(Ordering::Relaxed).to_ne_bytes();
                assert!(last[N % WORD..].iter().all(|byte| *byte == 0), "{N}");
            }
        }
        there_and_back::<0>();
        there_and_back::<1>();
        there_and_back::<7>();
        there_and_back::<8>();
        there_and_back::<9>();
        there_and_back::<24>();
        there_and_back::<31>();
        there_and_back::<33>();
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert_eq!(value_of::<bool>(&[255]).unwrap_err().field, "bool");
        assert_eq!(value_of::<char>(&[255; 4]).unwrap_err().field, "char");
        assert_eq!(value_of::<bool>(&[0]), Ok(false));
        assert!(value_of::<std::num::NonZero<u32>>(&[0; 4]).is_err());
        assert!(value_of::<u32>(&[1, 2, 3]).is_err());
        assert_eq!(value_of::<u32>(&7_u32.to_ne_bytes()), Ok(7));
    }

    #[test]
    #[should_panic(expected = "mid > len")]
    fn too_few_words_are_a_bug_of_ours() {
        store_bytes(&words::<1>(), &[0; 16]);
    }
}
