//! The kernel's real behaviour through this crate's API.

mod auto_traits;
mod corner;
mod epoll;
mod eventfd;
mod far_deadlines;
mod fifo;
mod fork;
mod futex;
mod inotify;
mod leaks;
mod lock;
mod mapping;
mod membarrier;
mod memfd;
mod memory;
mod namespace;
mod pidfd;
mod pipe;
mod poll;
mod posix;
mod process_memory;
mod pthread;
#[cfg(feature = "io-uring")]
mod ring;
mod signal;
mod sock_diag;
mod spare;
mod sysv;
mod tcp;
mod timerfd;
mod transfer;
mod udp;
mod unix;
mod vsock;
