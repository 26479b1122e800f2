//! What each process has one of, locks included: a forked child begins with a new one.

use std::sync::OnceLock;

use super::process;

/// A value of this process alone.
///
/// A lock that another thread held when this process was forked stays locked in the child for ever, and what it guards
/// may be half changed there. So the child has a value of its own, and its parent's is not looked at.
pub(crate) struct PerProcess<T> {
    own: T,
    of_child: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    /// `first` is the value of whoever is not a forked child.
    pub(crate) const fn new(first: T) -> Self {
        Self { own: first, of_child: OnceLock::new() }
    }

    /// The calling process's value.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        let mut value = self;
        for _ in 0..process::generation() {
            value = value.of_child.get_or_init(|| Box::new(Self::new(T::default())));
        }
        &value.own
    }
}
