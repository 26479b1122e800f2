//! The structures in shared memory, without names, sockets or threads: layouts and algorithms over views.

pub(crate) mod calls;
pub(crate) mod cells;
pub(crate) mod event;
pub(crate) mod held;
pub(crate) mod inlet;
pub(crate) mod items;
pub(crate) mod latest;
pub(crate) mod log;
pub(crate) mod outlet;
pub(crate) mod planted;
pub(crate) mod pool;
pub(crate) mod stream;
pub(crate) mod work;

#[cfg(all(test, not(model)))]
mod measure;
