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

mod backoff;
mod descriptor;
pub mod epoll;
mod error;
pub mod eventfd;
pub mod fifo;
pub mod fork;
pub mod futex;
pub mod inotify;
pub mod job;
pub mod lock;
pub mod mapping;
pub mod membarrier;
pub mod memfd;
mod memory;
mod mode;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod posix;
pub mod process;
pub mod process_memory;
pub mod pthread;
mod region;
#[cfg(feature = "io-uring")]
pub mod ring;
pub mod signal;
pub mod signalfd;
mod socket;
pub mod spare;
#[allow(unsafe_code, reason = "the one place where the kernel is called without a safe wrapper")]
mod sys;
pub mod sysv;
pub mod tcp;
pub mod timerfd;
pub mod transfer;
pub mod udp;
pub mod unix;
pub mod vsock;
mod wait;

pub use error::{Error, ErrorKind, Result};
pub use mode::{Access, Mode, ParseModeError};
pub use region::Region;
pub use socket::Packet;

/// The package's README lists the facilities; this is the type of a length of time in every deadline form.
#[doc(no_inline)]
pub use std::time::Duration;
