//! The kernel's real behaviour through this crate's API.

mod corner;
mod tcp;
mod udp;
mod unix;
mod vsock;
