//! What a topic carries: values of one type, or slices of them.

use crate::channel::untyped::SLICES;
use crate::layout::ShmSafe;

/// A type that can be published: a [`ShmSafe`] type, or a slice of one.
///
/// Sealed; it is implemented for every `T: ShmSafe` and for `[T]`.
pub trait Payload: Sealed<Of = <Self as Payload>::Item> {
    /// What it consists of.
    type Item: ShmSafe;
}

impl<T: ShmSafe> Payload for T {
    type Item = T;
}

impl<T: ShmSafe> Payload for [T] {
    type Item = T;
}

pub trait Sealed {
    type Of;

    /// How many items each message has; `None` if any number.
    const COUNT: Option<usize>;

    fn items(&self) -> &[Self::Of];

    /// `items` are as many as [`COUNT`](Self::COUNT) says.
    fn of_items(items: &[Self::Of]) -> &Self;

    /// As [`of_items`](Self::of_items).
    fn of_items_mut(items: &mut [Self::Of]) -> &mut Self;
}

impl<T: ShmSafe> Sealed for T {
    type Of = T;

    const COUNT: Option<usize> = Some(1);

    #[inline(always)]
    fn items(&self) -> &[T] {
        std::slice::from_ref(self)
    }

    #[inline(always)]
    fn of_items(items: &[T]) -> &Self {
        &items[0]
    }

    #[inline(always)]
    fn of_items_mut(items: &mut [T]) -> &mut Self {
        &mut items[0]
    }
}

impl<T: ShmSafe> Sealed for [T] {
    type Of = T;

    const COUNT: Option<usize> = None;

    #[inline(always)]
    fn items(&self) -> &[T] {
        self
    }

    #[inline(always)]
    fn of_items(items: &[T]) -> &Self {
        items
    }

    #[inline(always)]
    fn of_items_mut(items: &mut [T]) -> &mut Self {
        items
    }
}

/// Slices have another hash than the type they consist of.
const SLICE: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) fn hash<T: Payload + ?Sized>() -> u64 {
    let item = T::Item::LAYOUT.hash();
    if T::COUNT.is_some() { item } else { item.rotate_left(17) ^ SLICE }
}

pub(crate) fn text<T: Payload + ?Sized>() -> String {
    let item = T::Item::LAYOUT;
    if T::COUNT.is_some() { item.to_string() } else { format!("{SLICES}{item}") }
}
