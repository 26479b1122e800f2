//! Every inter-process communication mechanism of the operating system: safe, typed, documented.
//!
//! One module per facility, named by its POSIX word; the C names are doc aliases, so a search for `mq_open` or
//! `semop` finds them. Everything here is a thin, exact face of the kernel: no background threads, no protocol of our
//! own, and no global state but the table of signal handlers, of which a process has only one.
//!
//! # How to choose
//! Four questions, in this order.
//!
//! **Do the two processes have something in common already?** A parent, or a connection? Then what they share needs
//! no name. A [`pipe`], a pair of [Unix sockets](unix), a [`memfd`], an [`eventfd`] is inherited, or sent over a
//! socket; nobody else can take hold of it, and it is gone with its last holder, however that one ends. Strangers must
//! meet at a name: a [`fifo`], a socket's file, a [POSIX](posix) name, a [System V](sysv) key, a port. Somebody else
//! may take a name first, so look who is there; and most named objects stay until somebody removes them.
//!
//! **Bytes, messages or memory?** A stream ([`pipe`], [`fifo`], [`unix::Stream`], [`tcp`]) carries any amount, and the
//! reader must find out where one thing ends. Messages ([`unix::SeqPacket`], [`unix::Datagram`], [`udp`],
//! [`posix::mq`], [`sysv::msg`]) arrive whole and have a largest size. Memory ([`memfd`], [`posix::shm`],
//! [`sysv::shm`], all seen through a [`Region`]) is not copied and says nothing: who writes when, and whether it is
//! complete, is agreed on beside it, with a lock of [`pthread`], a semaphore or a [`futex`].
//!
//! **What shall happen when the other side dies?** A connection tells: the end of the stream, or
//! [`ErrorKind::PeerGone`]. A [`pidfd`] tells of any process. A queue does not: its messages stay, and who waits waits
//! on, so give the wait a deadline. Of what is held, the kernel gives back [file locks](lock) and
//! [System V operations with undo](sysv::sem), hands a robust [`pthread`] mutex over with word of the death, and
//! forgets a POSIX semaphore's permit.
//!
//! **What else does the thread wait for?** Descriptors can be waited for together, by [`poll`] or [`epoll`]: sockets,
//! pipes, FIFOs, POSIX queues, event counters, timers, signals, watched files, processes. System V objects, semaphores,
//! futexes and locks cannot: they need a deadline or a thread of their own.
//!
//! The table "which mechanism do I want?", wish by wish, stands on the first page of the crate `tieline`. How fast each
//! mechanism is on a given machine, `tieline bench os` measures.
//!
//! # The modules
//! | | for |
//! |---|---|
//! | **Bytes** | |
//! | [`pipe`] | a stream between relatives |
//! | [`fifo`] | the same with a name in the file system |
//! | [`unix`] | sockets of one machine, for bytes or messages, that carry descriptors and say who the peer is |
//! | [`tcp`], [`udp`] | the network |
//! | [`vsock`] | a virtual machine and its host |
//! | [`transfer`] | from one descriptor to another without passing through this process |
//! | **Messages that wait** | |
//! | [`posix::mq`] | a bounded queue ordered by priority, pollable |
//! | [`sysv::msg`] | a queue read by type |
//! | **Memory** | |
//! | [`mapping`] | pages of a file, a memfd or nothing, in this address space |
//! | [`atomic_bytes`] | copies of bytes that others may change meanwhile |
//! | [`memfd`] | memory without a name, sealable |
//! | [`posix::shm`], [`sysv::shm`] | memory with a name, or a key |
//! | [`process_memory`] | another process's own memory |
//! | **Taking turns** | |
//! | [`posix::sem`] | a count in shared memory |
//! | [`sysv::sem`] | several counts changed in one step, with undo |
//! | [`pthread`] | the C library's locks, shared between processes |
//! | [`lock`] | a file, or a range of its bytes |
//! | [`futex`] | to sleep on a word until it changes, for locks of one's own |
//! | [`membarrier`] | a memory fence that others pay for |
//! | **Waiting and waking** | |
//! | [`poll`], [`epoll`] | a few descriptors; many |
//! | [`eventfd`] | to wake whoever waits for descriptors |
//! | [`timerfd`] | a moment, or a beat |
//! | [`signal`], [`signalfd`] | signals, sent and received as values |
//! | [`inotify`] | what happens to files |
//! | `ring` | many operations in one call (`io_uring`; feature `io-uring`) |
//! | [`spare`] | to refuse a connection when no descriptor is left |
//! | **Processes** | |
//! | [`process`] | ids, groups, sessions, waiting for children |
//! | [`pidfd`] | a process that cannot be mistaken for another |
//! | [`address_space`] | what another process has mapped |
//! | [`description`] | whether two descriptors are one open file |
//! | [`fork`] | a child that shares this process's memory |
//! | [`job`] | terminals, foreground and background |
//! | **Beside IPC** | |
//! | [`locale`] | how wide a character is on a terminal, as C programs have it |
//! | **Looking around** | |
//! | [`sock_diag`] | every socket of a network namespace, with its peer and its queues |
//! | [`namespace`] | what lies behind a container's names |
//! | **Names and dates for people** | |
//! | [`account`] | users and groups |
//! | [`LocalTime`] | a moment as the wall clock shows it |
//!
//! # Conventions
//! * **Three faces of one call.** `try_x` never waits, `x` waits, `x_timeout` waits for a [`Duration`]
//!   (`std::time::Duration`) on the monotonic clock. A call without these three does not wait, unless it says so; a few waits
//!   that the kernel cannot bound (for any child, for a classic record lock, in `sendfile`) have no third form.
//! * **Words** are those of POSIX, also where its families differ. Sockets `recv` (`recv`, `recvmsg`); queues and
//!   signals `receive` (`mq_receive`, "receive" in the text of `msgrcv`); what one calls `read` for, `read`s: pipes,
//!   counters, timers, watched files. A name is taken away by `unlink` (`unlink`, `mq_unlink`, `shm_unlink`), after which
//!   who has the object open goes on; a System V object by `remove` (`IPC_RMID`), after which only attached memory
//!   lives on.
//! * **Making.** `create` wants the name to be free, `open` wants the object to be there, `open_or_create` takes either.
//!   (A FIFO is made by one call and opened by another, so it has `create_if_absent`.) Dropping a handle lets go of the
//!   handle; a named object outlives it, because that is what the kernel does. One exception: a Unix socket's file is
//!   removed with the socket that made it, because nobody can use it afterwards.
//! * **Modes** default to the owner only ([`Mode::OWNER`]).
//! * **Descriptors** are owned, close-on-exec, and closed by drop. One that came from elsewhere keeps its
//!   `O_NONBLOCK` flag, which everybody who shares it sees; `from_fd` of a listener, a counter, a timer or a signal
//!   descriptor is the exception, and says so.
//! * **Interruption.** A signal handler that runs during a call does not end it, unless the call's documentation says
//!   that it is the point of the call (then the error is [`ErrorKind::Interrupted`]).
//! * **Threads.** A method that takes `&self` may be called from several threads at once.
//! * **Signal handlers.** Call nothing here in a signal handler unless its documentation allows it: an error with the
//!   name of its object allocates.
//! * **Errors** are one type, [`Error`]: a sentence for people, a kind and an errno for programs. `# Errors` names the
//!   kinds.

#![deny(unsafe_code)]

pub mod account;
pub mod address_space;
pub mod atomic_bytes;
mod backoff;
pub mod description;
mod descriptor;
pub mod epoll;
mod error;
pub mod eventfd;
pub mod fifo;
pub mod fork;
pub mod futex;
pub mod inotify;
pub mod job;
mod local_time;
pub mod locale;
pub mod lock;
pub mod mapping;
pub mod membarrier;
pub mod memfd;
mod memory;
mod mode;
pub mod namespace;
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
pub mod sock_diag;
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
pub use local_time::LocalTime;
pub use mode::{Access, Mode, ParseModeError};
pub use region::Region;
pub use socket::Packet;

/// A length of time, as every `_timeout` form takes it: the standard library's.
#[doc(no_inline)]
pub use std::time::Duration;
