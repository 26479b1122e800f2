//! The types that everything else consists of.

use std::any::TypeId;
use std::marker::PhantomData;
use std::num::NonZero;

use super::{Invalid, Layout, ShmSafe};

macro_rules! any_bits {
    ($($primitive:ident)*) => { $(
        // SAFETY: a number of the same size everywhere; every bit pattern is a value.
        unsafe impl ShmSafe for $primitive {
            const LAYOUT: &'static Layout = const { &Layout::primitive::<Self>(stringify!($primitive)) };

            #[inline]
            fn check(_: &[u8]) -> Result<(), Invalid> {
                Ok(())
            }
        }
    )* };
}

any_bits! { f32 f64 i128 i16 i32 i64 i8 u128 u16 u32 u64 u8 }

/// Whether the values of an array or slice of `T` need no look, because each pattern of bits is one. An optimised program
/// does not look anyway; one that is not would take a second for some megabytes.
pub(crate) fn is_spared<T: 'static>() -> bool {
    macro_rules! ids {
        ($($primitive:ident)*) => { [$(TypeId::of::<$primitive>()),*] };
    }
    cfg!(debug_assertions) && ids!(f32 f64 i128 i16 i32 i64 i8 u128 u16 u32 u64 u8).contains(&TypeId::of::<T>())
}

macro_rules! non_zero {
    ($($primitive:ident)*) => { $(
        // SAFETY: a number of the same size everywhere; zero is refused.
        unsafe impl ShmSafe for NonZero<$primitive> {
            const LAYOUT: &'static Layout =
                const { &Layout::primitive::<Self>(concat!("nonzero ", stringify!($primitive))) };

            #[inline]
            fn check(bytes: &[u8]) -> Result<(), Invalid> {
                let zero = bytes.iter().all(|byte| *byte == 0);
                if zero { Err(Invalid::new(Self::LAYOUT.name, "a number other than zero")) } else { Ok(()) }
            }
        }
    )* };
}

non_zero! { i128 i16 i32 i64 i8 u128 u16 u32 u64 u8 }

// SAFETY: one byte; only its two values pass the check.
unsafe impl ShmSafe for bool {
    const LAYOUT: &'static Layout = const { &Layout::primitive::<Self>("bool") };

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        if matches!(bytes, [0 | 1]) { Ok(()) } else { Err(Invalid::new("bool", "0 or 1")) }
    }
}

// SAFETY: four bytes; only scalar values pass the check.
unsafe impl ShmSafe for char {
    const LAYOUT: &'static Layout = const { &Layout::primitive::<Self>("char") };

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        let number = bytes.try_into().ok().map(u32::from_ne_bytes);
        let scalar = number.and_then(Self::from_u32);
        if scalar.is_some() { Ok(()) } else { Err(Invalid::new("char", "a Unicode scalar value")) }
    }
}

// SAFETY: elements follow each other without padding, and each is checked.
unsafe impl<T: ShmSafe, const N: usize> ShmSafe for [T; N] {
    const LAYOUT: &'static Layout = const { &Layout::array::<Self>(T::LAYOUT, N) };

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        if bytes.len() != size_of::<Self>() {
            return Err(Invalid::new("array", "as many bytes as the type has"));
        }
        // Elements without a byte have nothing to check, and chunks of nothing do not exist.
        if size_of::<T>() == 0 || is_spared::<T>() {
            return Ok(());
        }
        bytes.chunks_exact(size_of::<T>()).try_for_each(T::check)
    }
}

// SAFETY: no byte at all. Described as no `T`s in a row, so that what it stands for is part of the hash.
unsafe impl<T: ShmSafe> ShmSafe for PhantomData<T> {
    const LAYOUT: &'static Layout = const { &Layout::array::<Self>(T::LAYOUT, 0) };

    #[inline]
    fn check(_: &[u8]) -> Result<(), Invalid> {
        Ok(())
    }
}
