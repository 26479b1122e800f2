//! Signals: sending them, holding them back, receiving them as values.
//!
//! A signal is a number the kernel marks on a process or a thread. Standard signals are one bit each: five sent while
//! the first is pending arrive as one. Real-time signals ([`Signal::realtime`]) are queued, carry a value, and arrive
//! lowest number first.
//!
//! # Which way of receiving do I want?
//!
//! | wish | take | needs | tells who sent it |
//! |---|---|---|---|
//! | look now and then whether one came | [`Flag`] | nothing | no, it counts |
//! | be woken in an event loop, in a program whose threads you do not all control | [`Pipe`] | nothing | yes |
//! | be woken in an event loop | [`crate::signalfd::SignalFd`] | every thread blocks the signals | yes |
//! | a thread that does nothing else | [`wait()`] | every thread blocks the signals | yes |
//! | not be disturbed for a moment | [`Blocked`] | | |
//!
//! In doubt take [`Pipe`]: it asks nothing of the rest of the program, and can be polled. To learn that a process has
//! ended no signal is needed: see [`crate::pidfd`], and [`crate::process::wait`] for children.
//!
//! The invariant: **no user code runs in a signal handler.** A handler may interrupt any instruction, so that it may
//! not allocate, lock or print (see signal-safety(7)); the handlers here only add to an atomic or write one small
//! record to a pipe, and they leave `errno` as it was. What to do about the signal is decided in ordinary code.
//!
//! # Threads, fork and exec
//! The mask belongs to a thread and is inherited by the threads and processes it makes; dispositions belong to the
//! process. [`wait()`] and `SignalFd` get a signal only if *every* thread blocks it: block before the first thread is
//! spawned. Across exec the mask and ignored dispositions survive, handlers become the default action. A child made by
//! a bare `fork` starts with the dispositions from before [`Pipe`] and [`Flag`], so that its signals do not appear in
//! its parent's pipe.

mod handle;
mod info;
mod mask;
mod number;
mod send;
mod set;
mod wait;

pub use handle::{Disposition, Flag, HandlerFlags, Pipe, disposition, ignore, set_default};
pub use info::{Cause, SignalInfo};
pub use mask::{Blocked, block, blocked, pending, set_mask, threads_not_blocking, unblock};
pub use number::{Action, ParseSignalError, Signal};
pub use send::{Presence, probe, queue, raise, send, send_to_all, send_to_group, send_to_own_group, send_to_thread};
pub use set::{SignalSet, Signals};
pub use wait::{try_wait, wait, wait_timeout};

pub(crate) use mask::require_blocked;
