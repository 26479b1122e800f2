//! What handles look like in memory. Written by hand, because the derive is a feature.

use std::marker::PhantomData;

use super::{ShmBox, ShmMap, ShmString, ShmVec};
use crate::layout::{Field, Invalid, Layout, ShmSafe};

macro_rules! handle {
    ($name:literal, $type:ty, [$($parameter:ident),*], [$($field:literal: $content:ty),*]) => {
        // SAFETY: repr(C), a u64 and markers without a byte, so no padding; any number is a handle, and what it names is
        // checked at each use.
        unsafe impl<$($parameter: ShmSafe),*> ShmSafe for $type {
            const LAYOUT: &'static Layout = const {
                &Layout::structure::<Self>($name, const {
                    &[Field::new("offset", 0, u64::LAYOUT) $(, Field::new($field, 8, <$content>::LAYOUT))*]
                })
            };

            #[inline]
            fn check(bytes: &[u8]) -> Result<(), Invalid> {
                Invalid::of_field::<u64>(bytes, 0, "offset")
            }
        }
    };
}

handle!("ShmBox", ShmBox<T>, [T], ["holds": PhantomData<T>]);
handle!("ShmMap", ShmMap<K, V>, [K, V], ["keys": PhantomData<K>, "values": PhantomData<V>]);
handle!("ShmString", ShmString, [], []);
handle!("ShmVec", ShmVec<T>, [T], ["holds": PhantomData<T>]);
