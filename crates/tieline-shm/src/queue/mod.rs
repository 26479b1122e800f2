//! The structures in shared memory, without names, sockets or threads: layouts and algorithms over views.

pub(crate) mod log;
pub(crate) mod pool;
