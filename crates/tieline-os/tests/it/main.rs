//! The kernel's real behaviour through this crate's API.

mod corner;
mod fork;
mod futex;
mod mapping;
mod membarrier;
mod memory;
mod pthread;
