//! The kernel's real behaviour through this crate's API.

mod corner;
mod epoll;
mod eventfd;
mod inotify;
mod leaks;
mod pidfd;
mod poll;
mod process_memory;
#[cfg(feature = "io-uring")]
mod ring;
mod spare;
mod timerfd;
