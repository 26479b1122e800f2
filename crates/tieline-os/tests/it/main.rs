//! The kernel's real behaviour through this crate's API.

mod corner;
mod fork;
mod futex;
mod mapping;
mod membarrier;
mod memory;
mod pthread;
mod epoll;
mod eventfd;
mod fifo;
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
