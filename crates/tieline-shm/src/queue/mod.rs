//! The structures in shared memory, without names, sockets or threads: layouts and algorithms over views.

pub(crate) mod calls;
pub(crate) mod cells;
pub(crate) mod held;
pub(crate) mod planted;
pub(crate) mod stream;
pub(crate) mod work;
