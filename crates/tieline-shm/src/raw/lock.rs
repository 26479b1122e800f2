//! The lock of one process's own threads: the standard library's, or loom's when a model is checked.
//!
//! Nothing that such a lock guards is shared with other processes; `sync` has the locks for that.

#[cfg(not(model))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(model)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
