//! A received message.

use std::fmt;
use std::ops::Deref;

use super::Payload;
use crate::structure::items::{HeldItems, Inline};

/// A received message: a copy of a small one, or a view of a large one where its publisher wrote it.
///
/// A large one keeps its place from being reused until it is dropped, in any order and on any thread; the publisher's
/// death does not take it away. A subscriber may hold as many as the publisher allows
/// ([`max_held`](super::PublisherOptions::max_held)).
///
/// In a child made by `fork` a view stays the parent's: dropping it there does nothing, and what it shows may change as
/// soon as the parent drops its own. Copy what the child shall have.
pub struct Sample<T: Payload + ?Sized> {
    pub(super) body: Body<T::Item>,
}

pub(super) enum Body<I> {
    Inline(Inline<I>),
    Held(HeldItems<I>),
    Copied(Box<[I]>),
}

impl<T: Payload + ?Sized> Sample<T> {
    /// Whether the message is a view of shared memory rather than a copy.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.body, Body::Held(_))
    }
}

impl<T: Payload + ?Sized> Deref for Sample<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        T::of_items(match &self.body {
            Body::Inline(inline) => inline.items(),
            Body::Held(held) => held.items(),
            Body::Copied(copy) => copy,
        })
    }
}

impl<T: Payload + fmt::Debug + ?Sized> fmt::Debug for Sample<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::Sample;
    use crate::error::Result;

    #[test]
    fn a_received_message_is_moved_without_a_call() {
        assert_eq!(size_of::<Result<Sample<[u8; 64]>>>(), 128);
        assert_eq!(size_of::<Result<Sample<[u64]>>>(), 128);
    }
}
