//! The atomics that every structure of this crate uses: the processor's, or loom's when a model is checked
//! (`--cfg model`; not `--cfg loom`, which tokio and others take as meant for them).
//!
//! Under `cfg(model)` the types have other sizes and live in ordinary memory; layouts are tested without it.

#[cfg(not(model))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

#[cfg(model)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Loom has no compiler fence: a model that relies on one uses a full fence where the barrier of others would be.
#[cfg(model)]
pub(crate) fn compiler_fence(_: Ordering) {}

/// Tells the processor that this thread waits for another's store.
#[inline(always)]
pub(crate) fn pause() {
    #[cfg(not(model))]
    std::hint::spin_loop();
    #[cfg(model)]
    loom::thread::yield_now();
}
