//! The kernel's real behaviour through this crate's API.

mod corner;
mod job;
mod signal;
