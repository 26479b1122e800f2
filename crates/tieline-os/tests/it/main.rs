//! The kernel's real behaviour through this crate's API.

mod corner;
mod futex;
mod mapping;
mod membarrier;
mod memory;
mod process;
mod pthread;
