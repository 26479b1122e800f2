//! The structures in shared memory, without names, sockets or threads: layouts and algorithms over views.

pub(crate) mod inlet;
pub(crate) mod items;
pub(crate) mod log;
pub(crate) mod outlet;
pub(crate) mod pool;

#[cfg(all(test, not(model)))]
mod measure;
