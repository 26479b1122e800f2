//! The kernel's real behaviour through this crate's API.

mod corner;
mod fifo;
mod lock;
mod pipe;
mod transfer;
