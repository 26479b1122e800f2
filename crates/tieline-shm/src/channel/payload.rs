//! What channels carry: values of one type, or slices of them.
//!
//! The invariant: equal hashes mean that both sides cut the same bytes into the same values.

use crate::channel::untyped::SLICES;
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::structure::held::Held;
use crate::structure::items::bytes_of_items;

/// What a channel carries: any [`ShmSafe`] type (`Topic<Frame>`), or a slice of one (`Topic<[Frame]>`, `Queue<[u8]>` for
/// bytes), of any length up to the channel's maximum.
///
/// Sealed; it is implemented for every `T: ShmSafe` and for `[T]`. A channel of `T` and one of `[T]` are different: who
/// opens the one as the other is refused with [`Mismatch`](crate::ErrorKind::Mismatch).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent through shared memory",
    label = "neither a ShmSafe type nor a slice of one",
    note = "numbers of fixed size, bool, char, NonZero, arrays of such, types with derive(ShmSafe), and slices of these can",
    note = "text is sent as [u8], or as an array of bytes in a struct"
)]
pub trait Payload: Form<Of = <Self as Payload>::Item> {
    /// What it consists of.
    type Item: ShmSafe;
}

impl<T: ShmSafe> Payload for T {
    type Item = T;
}

impl<T: ShmSafe> Payload for [T] {
    type Item = T;
}

/// One value or several. Not to be named outside, so that nobody else implements [`Payload`].
pub trait Form: Send + Sync + 'static {
    type Of;

    /// How many items each payload has; `None` if any number.
    const COUNT: Option<usize>;

    fn items(&self) -> &[Self::Of];

    /// `items` are as many as [`COUNT`](Self::COUNT) says.
    fn of_items(items: &[Self::Of]) -> &Self;

    /// As [`of_items`](Self::of_items).
    fn of_items_mut(items: &mut [Self::Of]) -> &mut Self;
}

impl<T: ShmSafe> Form for T {
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

impl<T: ShmSafe> Form for [T] {
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

/// What both sides must agree on.
pub(crate) fn hash<P: Payload + ?Sized>() -> u64 {
    let item = P::Item::LAYOUT.hash();
    if P::COUNT.is_some() { item } else { item.rotate_left(17) ^ SLICE }
}

/// The same for people.
pub(crate) fn text<P: Payload + ?Sized>() -> String {
    let item = P::Item::LAYOUT;
    if P::COUNT.is_some() { item.to_string() } else { format!("{SLICES}{item}") }
}

/// The length of each payload, if all have the same.
pub(crate) fn len_bytes<P: Payload + ?Sized>() -> Option<usize> {
    P::COUNT.map(|count| count * size_of::<P::Item>())
}

/// The payload's bytes.
#[inline(always)]
pub(crate) fn bytes<P: Payload + ?Sized>(payload: &P) -> &[u8] {
    bytes_of_items(payload.items())
}

/// Checks that what came is such a payload, which [`view`] then relies on.
///
/// # Errors
/// `Corrupted` says why not.
pub(crate) fn check<P: Payload + ?Sized>(held: &mut Held, operation: &'static str) -> Result<()> {
    held.check::<P::Item>(operation, P::COUNT)
}

/// What came, which must have been [checked](check).
pub(crate) fn view<P: Payload + ?Sized>(held: &Held) -> &P {
    P::of_items(held.items())
}
