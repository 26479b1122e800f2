//! Every inter-process communication mechanism of the operating system: safe, typed, documented.
//!
//! One module per facility, named by its POSIX word; the C names are doc aliases, so a search for `mq_open` or
//! `semop` finds them. Everything here is a thin, exact face of the kernel: no background threads, no global state,
//! no protocol of our own.
//!
//! # Conventions
//! * **Three faces of one call.** `try_x` never waits, `x` waits, `x_timeout` waits for a [`Duration`]
//!   (`std::time::Duration`) on the monotonic clock.
//! * **Interruption.** A signal handler that runs during a call does not end it, unless the call's documentation says
//!   that it is the point of the call (then the error is [`ErrorKind::Interrupted`]).
//! * **Descriptors** are owned, close-on-exec, and closed by drop. Named objects outlive their handle until `unlink` or
//!   `remove`, because that is what the kernel does.
//! * **Errors** are one type, [`Error`]: a sentence for people, a kind and an errno for programs.
//! * **Modes** default to the owner only ([`Mode::OWNER`]).

#![deny(unsafe_code)]

mod descriptor;
pub mod epoll;
mod error;
pub mod mapping;
pub mod memfd;
mod memory;
mod mode;
pub mod posix;
pub mod eventfd;
pub mod inotify;
mod mode;
pub mod pidfd;
pub mod poll;
pub mod process_memory;
mod backoff;
mod error;
pub mod fifo;
pub mod lock;
mod mode;
pub mod pipe;
mod region;
#[cfg(feature = "io-uring")]
pub mod ring;
pub mod spare;
pub mod job;
mod mode;
pub mod process;
mod region;
pub mod signal;
pub mod signalfd;
#[allow(unsafe_code, reason = "the one place where the kernel is called without a safe wrapper")]
mod sys;
pub mod timerfd;
pub mod transfer;
mod socket;
#[allow(unsafe_code, reason = "the one place where the kernel is called without a safe wrapper")]
mod sys;
pub mod tcp;
pub mod udp;
pub mod unix;
pub mod vsock;
pub mod sysv;
mod wait;

pub use error::{Error, ErrorKind, Result};
pub use mode::{Access, Mode, ParseModeError};
pub use region::Region;
pub use socket::Packet;

/// The package's README lists the facilities; this is the type of a length of time in every deadline form.
#[doc(no_inline)]
pub use std::time::Duration;
