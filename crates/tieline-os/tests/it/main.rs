//! The kernel's real behaviour through this crate's API.

mod auto_traits;
mod corner;
mod epoll;
mod eventfd;
mod far_deadlines;
mod fifo;
mod forgotten;
mod fork;
mod inotify;
mod leaks;
mod lock;
mod mapping;
mod memfd;
mod pidfd;
mod pipe;
mod poll;
mod posix;
mod process_memory;
#[cfg(feature = "io-uring")]
mod ring;
mod signal;
mod spare;
mod sysv;
mod tcp;
mod timerfd;
mod transfer;
mod udp;
mod unix;
mod vsock;
